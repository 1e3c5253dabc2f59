"""Tokens of what a robot observes: images of several cameras, frames, its state, an instruction.

As in Dasari et al., "The Ingredients for Robotic Diffusion Transformers", 2024 (arXiv 2410.10088).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least, fraction, one_of
from surform.layers.dropout import Dropout
from surform.robotics.resnet_tokens import SIZES, PatchTokens, ResNetTokens

__all__ = ["FEATURES", "Observation", "ObservationTokens"]

# camera -> (b, 3, h, w) or (b, frames, 3, h, w); "state" -> (b, s); "language" -> (b, l)
Observation = Mapping[str, Tensor]
FEATURES = (*(f"resnet{size}" for size in SIZES), "patches")
_RESERVED = ("state", "language")


class ObservationTokens(nn.Module):
    """Observations by name -> (b, tokens, dim): camera after camera, frame after frame, then state,
    then the instruction where it is a token.

    Args: as for `DiTPolicy`.
    """

    def __init__(
        self,
        dim: int,
        cameras: Sequence[str],
        *,
        frames: int,
        early_fusion: bool,
        shared_features: bool,
        features: str,
        feature_dim: int | None,
        patch_size: int,
        average_pool: bool,
        state_dim: int | None,
        state_as: Literal["token", "pad"],
        state_dropout: float,
        language_dim: int | None,
        language_as: Literal["film", "token"] = "film",
        norm: Literal["none", "layer", "batch"],
        dropout: float,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, frames=frames)
        one_of("features", features, FEATURES)
        one_of("state_as", state_as, ["token", "pad"])
        one_of("token_norm", norm, ["none", "layer", "batch"])
        fraction(state_dropout=state_dropout, token_dropout=dropout)
        one_of("language_as", language_as, ["film", "token"])
        told_by_film = language_dim if language_as == "film" else None
        _check_sources(cameras, state_dim, state_as, features, told_by_film)
        self.cameras, self.frames, self.early_fusion = tuple(cameras), frames, early_fusion
        self.state_dim, self.state_as, self.language_dim = state_dim, state_as, language_dim
        channels = 3 * frames if early_fusion else 3

        def extractor() -> ResNetTokens | PatchTokens:
            if features == "patches":
                return PatchTokens(feature_dim or dim, patch_size, channels)
            size = int(features.removeprefix("resnet"))
            return ResNetTokens(size, channels, 16, average_pool, told_by_film)

        count = min(1, len(cameras)) if shared_features else len(cameras)
        self.features = nn.ModuleList(extractor() for _ in range(count))
        width = int(self.features[0].width) if self.features else dim  # type: ignore[arg-type]
        self.state_dropout = Dropout(state_dropout)
        self.state: nn.Linear | None = None
        if state_dim is not None and state_as == "token":
            self.state = nn.Linear(state_dim, width)
        elif state_dim is not None:
            width += state_dim
        self.language: nn.Linear | None = None
        if language_dim is not None and language_as == "token":
            at_least(1, language_dim=language_dim)
            self.language = nn.Linear(language_dim, dim)
        self.project: nn.Module = nn.Identity() if width == dim else nn.Linear(width, dim)
        self.norm: nn.Module = nn.Identity()
        if norm != "none":
            self.norm = nn.LayerNorm(dim) if norm == "layer" else nn.BatchNorm1d(dim)
        self.dropout = Dropout(dropout)

    def forward(self, observation: Observation) -> Float[Tensor, "b s d"]:
        """Tokens of normalised observations.

        Raises:
            ValueError: a camera, the state or the instruction is missing or of another shape.
        """
        language = self._vector(observation, "language", self.language_dim)
        parts = []
        for number, camera in enumerate(self.cameras):
            images = self._images(observation, camera)
            extractor = self.features[number % len(self.features)]
            told = None
            if language is not None and self.language is None:
                told = language.repeat_interleave(images.shape[1], 0)
            tokens = extractor(images.flatten(0, 1), told)
            parts.append(tokens.reshape(images.shape[0], -1, tokens.shape[-1]))
        state = self._vector(observation, "state", self.state_dim)
        if state is not None:
            state = self.state_dropout(state)
        if state is not None and self.state is not None:
            parts.append(self.state(state)[:, None])
        batches = [part.shape[0] for part in (*parts, state, language) if part is not None]
        if any(size != batches[0] for size in batches):
            raise ValueError(f"the observations have different batches: {batches}")
        tokens = torch.cat(parts, 1)
        if state is not None and self.state is None:
            beside = state[:, None].expand(-1, tokens.shape[1], -1)
            tokens = torch.cat((beside, tokens), -1)
        tokens = self.project(tokens)
        if language is not None and self.language is not None:
            tokens = torch.cat((tokens, self.language(language)[:, None]), 1)
        return self.dropout(self._normed(tokens))

    def _normed(self, tokens: Tensor) -> Tensor:
        if isinstance(self.norm, nn.BatchNorm1d):
            return self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        return self.norm(tokens)

    def _images(self, observation: Observation, camera: str) -> Tensor:
        """(b, frames, c, h, w), frames together in the channels for early fusion."""
        images = _found(observation, camera)
        images = images[:, None] if images.ndim == 4 else images
        if images.ndim != 5 or images.shape[1] != self.frames or images.shape[2] != 3:
            raise ValueError(
                f"images of {camera} have shape {tuple(images.shape)}, but must be (batch, "
                f"{self.frames}, 3, height, width): frames is {self.frames}"
            )
        if not images.is_floating_point():
            raise ValueError(
                f"images of {camera} are {images.dtype}, but must be normalised floats"
            )
        return images.flatten(1, 2)[:, None] if self.early_fusion else images

    def _vector(self, observation: Observation, name: str, width: int | None) -> Tensor | None:
        if width is None:
            return None
        value = _found(observation, name)
        if value.ndim != 2 or value.shape[1] != width:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, but must be (batch, {width}): "
                f"{name}_dim is {width}"
            )
        return value


def _found(observation: Observation, name: str) -> Tensor:
    if name not in observation:
        raise ValueError(
            f"the observation lacks {name}; it has {', '.join(sorted(observation)) or 'nothing'}"
        )
    return observation[name]


def _check_sources(
    cameras: Sequence[str],
    state_dim: int | None,
    state_as: str,
    features: str,
    language_dim: int | None,
) -> None:
    if isinstance(cameras, str) or len(set(cameras)) < len(cameras):
        raise ValueError(f"cameras is {cameras!r}, but must be a list of different names")
    taken = [name for name in cameras if name in _RESERVED]
    if taken:
        raise ValueError(f"a camera cannot be called {taken[0]!r}: that is another observation")
    if state_dim is not None:
        at_least(1, state_dim=state_dim)
    if not cameras and (state_dim is None or state_as != "token"):
        raise ValueError("there is nothing to observe: name cameras, or give state_dim as a token")
    if language_dim is not None and (features == "patches" or not cameras):
        raise ValueError(
            f"language_dim is {language_dim}, but only cameras with a ResNet as features are told "
            "instructions"
        )
