"""Batch norm of channels that are the first axis, where some samples may not count."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ChannelNorm"]

MOMENTUM = 0.1
EPS = 1e-5


class ChannelNorm(nn.Module):
    """Normalises each of `dim` channels (d, l, v, b) over all other axes; torch's defaults, names.

    Ioffe and Szegedy, "Batch Normalization" (2015), arXiv 1502.03167. Evaluation uses running
    statistics. An empty batch passes unchanged.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(
        self, x: Float[Tensor, "d l v b"], taken: Tensor | None = None
    ) -> Float[Tensor, "d l v b"]:
        """taken: (b,), True for samples whose numbers make the statistics; None = all."""
        if not self.training:
            return self._affine(x, self.running_mean, self.running_var)
        if not x.numel():
            return x
        mean, variance, count = _statistics(x, taken)
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1), count)
        return self._affine(x, mean, variance)

    def _affine(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        scale = self.weight * (variance + EPS).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift.view(-1, 1, 1, 1), x, scale.view(-1, 1, 1, 1))

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        seen = count > 0
        share = (MOMENTUM * seen).to(self.running_mean)
        self.running_mean.lerp_(mean.to(share), share)
        self.running_var.lerp_(variance.to(share), share)
        self.num_batches_tracked.add_(seen)


def _statistics(x: Tensor, taken: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and how many numbers of a channel made them."""
    if taken is None:
        variance, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0)
        return mean, variance, torch.tensor(float(x[0].numel()), dtype=x.dtype, device=x.device)
    share = taken.to(x.dtype)
    total = share.sum() * (x.shape[1] * x.shape[2])
    count = total.clamp(min=1)
    mean = (x * share).sum((1, 2, 3)) / count
    variance = ((x - mean.view(-1, 1, 1, 1)) * share).square().sum((1, 2, 3)) / count
    return mean, variance, total
