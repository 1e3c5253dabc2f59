"""Sinusoidal positions (Vaswani et al., "Attention Is All You Need", 2017, section 3.5)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["rounded_sinusoid", "sinusoid"]


def sinusoid(length: int, dim: int) -> Float[Tensor, "l d"]:
    """table[t, 2i] = sin(t w_i), table[t, 2i + 1] = cos(t w_i), w_i = 10000^(-2i / dim).

    Always float32, whatever the default: a cast of it is what published weights were trained with.
    """
    steps = torch.arange(length, dtype=torch.float32)[:, None]
    even = torch.arange(0, dim, 2, dtype=torch.float32)
    angles = steps * torch.exp(even * -(math.log(10000.0) / dim))
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :dim]


def rounded_sinusoid(length: int, dim: int) -> Float[Tensor, "l d"]:
    """As `sinusoid`, but the angles are made in double precision and rounded once.

    The float32 table of compact transformers (arXiv 2104.05704).
    """
    channel = torch.arange(dim, dtype=torch.float64)
    steps = torch.arange(length, dtype=torch.float64)[:, None]
    angles = (steps / 10000 ** (2 * (channel // 2) / dim)).float()
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())
