"""Reversible instance normalisation: every series by its own mean and deviation, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least

__all__ = ["InstanceStatistics", "RevIN"]


class InstanceStatistics(NamedTuple):
    """Mean and deviation over time of each sample and variate, both (B, 1, V), no gradient."""

    mean: Tensor
    deviation: Tensor


class RevIN(nn.Module):
    """Normalise (B, L, V) over time and give the statistics back, to undo it on the forecast.

    Kim et al., "Reversible Instance Normalization for Accurate Time-Series Forecasting against
    Distribution Shift" (ICLR 2022), without arXiv id. The deviation is sqrt(biased variance + eps);
    mean and deviation are constants for the gradient. The statistics are returned, not kept:
    a module that keeps the last batch's cannot serve two threads.

    Args:
        variates: V, for a learned scale and shift per variate (`weight`, `bias`); None learns none.
        eps: added to the variance; its square keeps the inverse of `weight` finite.
    """

    def __init__(self, variates: int | None = None, *, eps: float = 1e-5) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"eps is {eps!r}, but must be positive")
        self.eps, self.variates = eps, variates
        if variates is not None:
            at_least(1, variates=variates)
            self.weight = nn.Parameter(torch.ones(variates))
            self.bias = nn.Parameter(torch.zeros(variates))

    def standardize(self, x: Float[Tensor, "b l v"]) -> tuple[Tensor, InstanceStatistics]:
        """(x - mean) / deviation, without the learned scale and shift, and what it was made by.

        Raises:
            ValueError: x has other axes, or another V than was learned.
        """
        if x.ndim != 3 or self.variates not in (None, x.shape[-1]):
            expected = "v" if self.variates is None else self.variates
            raise ValueError(f"x has shape {tuple(x.shape)}, but must be (b, l, {expected})")
        mean = x.detach().mean(1, keepdim=True)
        centred = x - mean
        deviation = (centred.detach().square().mean(1, keepdim=True) + self.eps).sqrt()
        return centred / deviation, InstanceStatistics(mean, deviation)

    def normalize(self, x: Float[Tensor, "b l v"]) -> tuple[Tensor, InstanceStatistics]:
        """The normalised series, learned scale and shift included, and its statistics."""
        standard, found = self.standardize(x)
        if self.variates is None:
            return standard, found
        return torch.addcmul(self.bias, standard, self.weight), found

    def denormalize(
        self, y: Float[Tensor, "b h v"], statistics: InstanceStatistics
    ) -> Float[Tensor, "b h v"]:
        """Undo `normalize` on a forecast of the same samples and variates."""
        mean, deviation = statistics
        if self.variates is None:
            return torch.addcmul(mean, y, deviation)
        return torch.addcmul(mean, y - self.bias, deviation / (self.weight + self.eps**2))
