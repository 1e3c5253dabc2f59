"""Batch norm over tokens: padded ones may be left out of the statistics, and it folds into maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["Map", "TokenBatchNorm", "TokenLayerNorm", "TokenNorm", "Unnormed"]

Map = tuple[Float[Tensor, " c"], Float[Tensor, " c"]]


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of (b, n, dim) with one mean and variance per channel, over samples and tokens."""

    def as_map(self) -> Map | None:
        """(scale, shift), each (dim,): what it does to each channel in evaluation."""
        return None if self.training else self._fixed()

    def _fixed(self) -> Map:
        assert self.running_mean is not None
        assert self.running_var is not None
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Float[Tensor, "b n c"], keep: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """keep: tokens that count in the statistics of training; None: all."""
        if not self.training:
            scale, shift = self._fixed()
            return torch.addcmul(shift, input, scale)
        if keep is None:
            return super().forward(input.flatten(0, 1)).view_as(input)
        return self._of_kept(input, keep)

    def _of_kept(self, x: Tensor, keep: Tensor) -> Tensor:
        kept = keep.unsqueeze(-1).to(x.dtype)
        count = kept.sum()
        mean = (x * kept).sum((0, 1)) / count
        variance = ((x - mean).square() * kept).sum((0, 1)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias - mean * scale, x, scale)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)


class TokenLayerNorm(nn.LayerNorm):
    """Layer norm, called as `TokenBatchNorm` is."""

    def as_map(self) -> Map | None:
        """None: its statistics are those of each token."""
        return None

    def forward(self, input: Float[Tensor, "b n c"], keep: Tensor | None = None) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class Unnormed(nn.Identity):
    """No norm, called as the others are."""

    def as_map(self) -> Map | None:
        """None: there is nothing to fold."""
        return None

    def forward(self, input: Tensor, keep: Tensor | None = None) -> Tensor:
        return input


TokenNorm = TokenBatchNorm | TokenLayerNorm | Unnormed
