"""What Pathformer's router looks at beside the series: its strongest waves and its trend.

Chen et al., "Pathformer: Multi-scale Transformers with Adaptive Pathways for Time Series
Forecasting" (ICLR 2024), arXiv 2402.05956, section 3.2. Time is the first axis here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Trend", "seasonality"]

KERNELS = (4, 8, 12)  # steps that the moving averages span
WAVES = 3


def seasonality(s: Float[Tensor, "l v b"]) -> Float[Tensor, "l v b"]:
    """The `WAVES` strongest waves of each series, without its mean and its fastest wave.

    The fastest one (for even l) has no phase. Which waves are kept has no gradient.
    """
    length = s.shape[0]
    if not s.numel():  # no transform takes an empty batch
        return s
    spectrum = torch.fft.rfft(s, dim=0)
    waves = spectrum[1 : (length + 1) // 2]
    size = waves.detach().abs()
    kept = torch.zeros_like(size).scatter(0, size.topk(min(WAVES, len(size)), dim=0).indices, 1.0)
    nothing = torch.zeros_like(spectrum[:1])
    rest = [nothing] * (len(spectrum) - 1 - len(waves))
    return torch.fft.irfft(torch.cat((nothing, waves * kept, *rest)), n=length, dim=0)


class Trend(nn.Module):
    """Moving averages over 4, 8 and 12 steps, mixed at each point by its own value."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(1, len(KERNELS))

    def forward(self, s: Float[Tensor, "l v b"]) -> Float[Tensor, "l v b"]:
        column = [1] * s.ndim
        logits = self.mix.weight.view(-1, *column) * s + self.mix.bias.view(-1, *column)
        shares = torch.softmax(logits, dim=0)
        return (shares * torch.stack([moving_average(s, k) for k in KERNELS])).sum(0)


def moving_average(s: Float[Tensor, "l v b"], kernel: int) -> Float[Tensor, "l v b"]:
    """Mean over `kernel` steps around each, the first and last step repeated at the ends."""
    back = (kernel - 1) // 2
    length, rest = s.shape[0], s.shape[1:]
    padded = torch.cat((s[:1].expand(kernel - 1 - back, *rest), s, s[-1:].expand(back, *rest)))
    total = padded[:length]
    for shift in range(1, kernel):
        total = total + padded[shift : shift + length]
    return total / kernel
