"""Rotary positions for real coordinates: pairs of channels turn by an angle per coordinate."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["period", "rotary_angles", "rotary_frequencies", "rotate_halves"]


def rotary_frequencies(dim: int, base: float = 10000.0) -> Float[Tensor, " half"]:
    """base^(-2j/dim) for j < dim/2, float32 as in published buffers."""
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)


def period(coordinate: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Length after which an evenly spaced axis repeats whose end point is not among its points."""
    n = len(coordinate)
    return (coordinate[-1] - coordinate[0]) * (n / max(1, n - 1))


def rotary_angles(
    coordinate: Float[Tensor, " n"], frequencies: Float[Tensor, " half"], scale: float = 64.0
) -> tuple[Float[Tensor, "n half"], Float[Tensor, "n half"]]:
    """cos and sin of scale * coordinate * frequency; coordinate in physical units."""
    angles = (scale * coordinate)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate_halves(
    x: Float[Tensor, "... n d"], cos: Float[Tensor, "n half"], sin: Float[Tensor, "n half"]
) -> Float[Tensor, "... n d"]:
    """(a, b) -> (a cos - b sin, b cos + a sin), a and b the two halves of the channels."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
