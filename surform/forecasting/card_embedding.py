"""CARD's tokens: patches of each variate and one token before them (arXiv 2305.12095)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform.layers.dropout import Dropout

__all__ = ["CardEmbedding", "instance_statistics"]

_FLOOR = 1e-4  # added to every deviation that divides


def instance_statistics(
    series: Float[Tensor, "b v l"],
    observed: Bool[Tensor, "b v l"] | None = None,
    legacy_mask: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The series standardised along time, their means and deviations `(b, v, 1)`.

    observed: where given, unobserved values become zero and only observed ones count; with
        `legacy_mask` the sums of the means are nevertheless over all values, as published.
    """
    if observed is None:
        mean, deviation = series.mean(-1, keepdim=True), series.std(-1, keepdim=True)
        return (series - mean) / (deviation + _FLOOR), mean, deviation
    count = observed.sum(-1, keepdim=True).clamp(min=1)
    summed = series if legacy_mask else series.masked_fill(~observed, 0.0)
    mean = summed.sum(-1, keepdim=True) / count
    centred = (series - mean).masked_fill(~observed, 0.0)
    deviation = (centred.square().sum(-1, keepdim=True) / count + 1e-5).sqrt()
    return centred / (deviation + _FLOOR), mean, deviation


class CardEmbedding(nn.Module):
    """Standardised series `(b, v, l)` -> tokens `(b, v, 1 + patches, dim)`.

    Args:
        lookback: l.
        statistic_token: the first token is a map of mean and deviation; else it is learned.
    """

    def __init__(
        self,
        lookback: int,
        patch_size: int,
        stride: int,
        dim: int,
        *,
        dropout: float,
        statistic_token: bool,
    ) -> None:
        super().__init__()
        self.patch_size, self.stride, self.dropout = patch_size, stride, Dropout(dropout)
        patches = (lookback - patch_size) // stride + 1
        self.tokens = patches + 1
        self.project = nn.Linear(patch_size, dim)
        self.positions = nn.Parameter(torch.randn(patches, dim) * 0.01)
        self.first = None if statistic_token else nn.Parameter(torch.randn(1, dim) * 0.01)
        self.statistic = nn.Linear(2, dim) if statistic_token else None

    def forward(
        self,
        series: Float[Tensor, "b v l"],
        mean: Float[Tensor, "b v 1"],
        deviation: Float[Tensor, "b v 1"],
    ) -> Float[Tensor, "b v t c"]:
        patches = self.dropout(self.project(series.unfold(-1, self.patch_size, self.stride)))
        first = self._first(mean, deviation).expand(*patches.shape[:2], 1, -1)
        return torch.cat((first.to(patches.dtype), patches + self.positions), dim=-2)

    def _first(self, mean: Tensor, deviation: Tensor) -> Tensor:
        if self.statistic is None:
            return self.first  # type: ignore[return-value]
        pair = torch.cat((mean, deviation), dim=-1)  # (b, v, 2)
        if pair.shape[1] > 1:
            spread = pair.std(1, keepdim=True) + _FLOOR
            pair = (pair - pair.mean(1, keepdim=True)) / spread
        return self.statistic(pair).unsqueeze(-2)
