"""Random features of kernels: cosines and sines of frequencies, or positive exponentials.

Chowdhury et al., "On Learning the Transformer Kernel", 2021 (arXiv 2110.08323), sections 3 and 4;
Le, Sarlos, Smola, "Fastfood", 2013 (arXiv 1408.3060). Queries and keys come scaled by d^-1/4 each.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["fastfood", "fourier_features", "hadamard", "mixture_features", "positive_features"]


def mixture_features(
    x: Float[Tensor, "b h n d"],
    omega: Float[Tensor, "d m"],
    spread: Float[Tensor, "h d d"],
    mean: Float[Tensor, "h d"],
) -> Float[Tensor, "b h n f"]:
    """Of two Gaussians of frequencies, S^T omega + mean and S^T omega - mean, and a constant 1.

    f = 4 m + 1. The constant keeps sums over keys from becoming zero.
    """
    middle, shift = spread.transpose(-2, -1) @ omega, mean.unsqueeze(-1)  # (h, d, m), (h, d, 1)
    waves = torch.cat((x @ (middle + shift), x @ (middle - shift)), -1)
    m = omega.shape[1]
    plus, minus = waves.split(m, -1)
    trigonometric = torch.cat((plus.cos(), plus.sin(), minus.cos(), minus.sin()), -1)
    one = x.new_ones(*x.shape[:3], 1)
    return torch.cat((trigonometric * m**-0.5, one), -1)


def positive_features(
    x: Float[Tensor, "b h n d"],
    omega: Float[Tensor, "d f"],
    log_variance: Float[Tensor, "h d"],
    mean: Float[Tensor, "h d"],
) -> Float[Tensor, "b h n f"]:
    """exp(x w - |x|^2) / sqrt(f) of one Gaussian of frequencies w with a diagonal covariance.

    The square of the length has the factor 1 of the official code, where 1/2 would make the
    features those of exp(q . k) at the start.
    """
    frequencies = (0.5 * log_variance).exp().unsqueeze(-1) * omega + mean.unsqueeze(-1)
    norm = x.square().sum(-1, keepdim=True) + 0.5 * math.log(omega.shape[1])
    return (x @ frequencies - norm).exp()


def fourier_features(waves: Float[Tensor, "b h n m"]) -> Float[Tensor, "b h n f"]:
    """Cosines and sines of products with m frequencies; f = 2 m."""
    return torch.cat((waves.cos(), waves.sin()), -1) * waves.shape[-1] ** -0.5


def fastfood(
    x: Float[Tensor, "b h n d"],
    diagonals: Float[Tensor, "h 3 d"],
    permutation: Int[Tensor, "h d"],
) -> Float[Tensor, "b h n d"]:
    """d^-1/2 S H G P H B x: products with d frequencies, without a matrix of them.

    Args:
        diagonals: B, G and S of each head.
        permutation: P of each head, which takes entry `permutation[i]` to place i.
    """
    first, middle, last = diagonals[:, :, None].unbind(1)  # (h, 1, d)
    mixed = hadamard(x * first)
    mixed = mixed.gather(-1, permutation[:, None].expand_as(mixed))
    return hadamard(mixed * middle) * last * x.shape[-1] ** -0.5


def hadamard(x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """The product with Hadamard's matrix (Sylvester's order), by log2(d) sums and differences.

    Raises:
        ValueError: d is no power of two.
    """
    d = x.shape[-1]
    if d < 1 or d & (d - 1):
        raise ValueError(f"a Hadamard transform needs a power of two, not the width {d}")
    step = 1
    while step < d:
        pairs = x.unflatten(-1, (-1, 2, step))
        a, b = pairs.unbind(-2)
        x = torch.stack((a + b, a - b), -2).flatten(-3)
        step *= 2
    return x
