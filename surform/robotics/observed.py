"""One step as environments give it, in the form that networks take: checked, on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from surform.data.demonstrations_images import resized
from surform.data.demonstrations_text import embed_text

__all__ = ["camera_images", "instruction_vectors", "state_vectors"]


def state_vectors(
    observation: Mapping[str, Any], names: Mapping[str, int], like: Tensor
) -> Float[Tensor, "b s"]:
    """Observed numbers side by side.

    Args:
        names: how many numbers each has, in their order.
        like: of the dtype and device to have.

    Raises:
        ValueError: one is missing, of another shape, or not finite.
    """
    parts = []
    for name, width in names.items():
        value = torch.as_tensor(_found(observation, name)).to(like)
        if value.ndim < 1 or value[0:1].numel() != width or value.ndim > 2:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, but must be (episodes, {width})"
            )
        parts.append(value.reshape(len(value), width))
        if value.device.type == "cpu" and not bool(value.isfinite().all()):
            episode = int((~parts[-1].isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{name} of episode {episode} is not finite")
    return torch.cat(parts, -1)


def camera_images(
    observation: Mapping[str, Any], name: str, shape: Sequence[int], device: torch.device
) -> UInt8[Tensor, "b 3 h w"]:
    """Images of a camera, brought to the size that the policy was trained with.

    Args:
        shape: (height, width, 3) of the policy's.

    Raises:
        ValueError: missing, of another shape or kind.
    """
    images = torch.as_tensor(_found(observation, name))
    if images.ndim != 4 or images.shape[-1] != 3 or not images.numel():
        raise ValueError(
            f"images of {name} have shape {tuple(images.shape)}, but must be (episodes, height, "
            "width, 3)"
        )
    if images.dtype != torch.uint8:
        raise ValueError(f"images of {name} are {images.dtype}, but must be uint8")
    return resized(images.to(device).permute(0, 3, 1, 2), (shape[0], shape[1]))


def instruction_vectors(
    observation: Mapping[str, Any], language: str, dim: int, like: Tensor
) -> Float[Tensor, "b e"]:
    """Embeddings of what each episode is told.

    Args:
        language: "text", or the observation that holds embeddings.
        dim: length of an embedding.

    Raises:
        ValueError: missing, a single sentence, or of another shape.
    """
    name = "instruction" if language == "text" or language not in observation else language
    told = _found(observation, name)
    if isinstance(told, str):
        raise ValueError("instruction is one sentence, but must be a list: one for each episode")
    if len(told) and isinstance(told[0], str):
        if language != "text":
            raise ValueError(
                f"the policy is told embeddings of {language}, not sentences: give (episodes, "
                f"{dim}) numbers as {name!r}"
            )
        told = np.stack([embed_text(sentence, dim) for sentence in told])
    value = torch.as_tensor(told).to(like)
    if value.ndim != 2 or value.shape[1] != dim:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, but must be sentences or (episodes, {dim})"
        )
    return value


def _found(observation: Mapping[str, Any], name: str) -> Any:
    if name not in observation:
        there = ", ".join(sorted(observation)) or "nothing"
        raise ValueError(f"the observation lacks {name}; it has {there}")
    return observation[name]
