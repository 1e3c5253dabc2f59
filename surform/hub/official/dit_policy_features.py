"""Replay of the official ResNet's tokens, whose parameters and image follow a stated rule.

u(key, i) is splitmix64 of (crc32(key) << 32) + i, in [0, 1); s = 2 u - 1. Convolutions are
1.2 s sqrt(3 / fan in), weights of norms 1 + 0.2 s, their biases 0.1 s, image and cotangent s.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.hub.official.fixture import Fixture, Replay
from surform.registry import create_model

__all__ = ["features"]

_STRIDE = 32  # pixels of a token's side


def features(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """`out/tokens` of a square image of as many pixels as the recorded tokens need."""
    given = fixture.constructor
    if not str(fixture.header.get("parameter_rule", {}).get("text", "")):
        raise ValueError(f"{fixture.path.name} states no rule that its parameters follow")
    norm = given.get("norm_cfg", {"name": "group_norm"})
    if norm.get("name") != "group_norm":
        raise ValueError(f"norm_cfg is {norm}, but only group_norm is supported")
    pooled = given.get("avg_pool", False)
    model = create_model(
        "resnet_tokens",
        size=given.get("size", 18),
        groups=norm.get("num_groups", 16),
        average_pool=pooled,
    ).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_parameter(_official(name), parameter))
    expected = fixture.named("out")["tokens"]
    side = _STRIDE * math.isqrt(expected.shape[1])
    side = int(fixture.options.get("image_size", side if not pooled else 3 * _STRIDE))
    image = _uniform("image", (len(expected), 3, side, side)).to(dtype)
    tokens = model.eval()(image)
    cotangent = _uniform("cot", tuple(expected.shape)).to(dtype)
    loss = (tokens * cotangent).sum()
    return Replay({"tokens": tokens}, {}, model, loss=loss, to_official=_named)


def _named(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {_official(name): value for name, value in state.items()}


def _official(name: str) -> str:
    return f"_model.{name.removeprefix('net.')}"


def _parameter(key: str, like: Tensor) -> Tensor:
    drawn = _uniform(key, tuple(like.shape))
    if like.ndim == 4:
        return 1.2 * drawn * math.sqrt(3 / like[0].numel())
    return 1 + 0.2 * drawn if key.endswith("weight") else 0.1 * drawn


def _uniform(key: str, shape: tuple[int, ...]) -> Tensor:
    """s(key, i) for i in C order, in [-1, 1)."""
    count = np.arange(math.prod(shape), dtype=np.uint64)
    z: Any = count + (np.uint64(zlib.crc32(key.encode())) << np.uint64(32))
    with np.errstate(over="ignore"):
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    drawn = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy(2 * drawn - 1).reshape(shape)
