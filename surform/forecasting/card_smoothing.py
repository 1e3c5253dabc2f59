"""Exponential smoothing along a sequence as one matrix product (CARD, arXiv 2305.12095)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Smoothing", "smoothing_matrix"]


def smoothing_matrix(size: int, alpha: float) -> Float[Tensor, "s s"]:
    """E of y = E x with y_0 = x_0 and y_i = (1 - alpha) y_{i-1} + alpha x_i; lower triangular.

    The entries are rounded to float32 step by step, as in the official buffer, in whatever
    precision they are used: models as sharp as CARD's tell the difference.
    """
    rows = [torch.zeros(size, dtype=torch.float32)]
    rows[0][:1] = 1.0  # what was before the first entry is the first entry
    for newest in range(1, size):
        rows.append(rows[-1] * (1.0 - alpha))
        rows[-1][newest] = alpha
    return torch.stack(rows).to(torch.get_default_dtype())


def _longer_matrix(size: int, alpha: float, like: Tensor) -> Float[Tensor, "s s"]:
    """The same in closed form, for sizes that are known in a forward pass only."""
    steps = torch.arange(size, device=like.device)
    remains = (1.0 - alpha) ** steps.to(like.dtype)
    share = torch.where(steps == 0, 1.0, alpha).to(like.dtype)
    return (remains[(steps[:, None] - steps).clamp(min=0)] * share).tril()


class Smoothing(nn.Module):
    """Smooth `(..., s, c)` along s.

    Args:
        size: length of the matrix that is kept.
        alpha: weight of the newest entry, in [0, 1].
        everywhere: smooth sequences that are longer than `size`, too. The official code fills only
            `size` rows of its matrix: what comes after them becomes zero.
    """

    matrix: Tensor

    def __init__(self, size: int, alpha: float, everywhere: bool = False) -> None:
        super().__init__()
        self.size, self.alpha, self.everywhere = size, alpha, everywhere
        self.register_buffer("matrix", smoothing_matrix(size, alpha), persistent=False)

    def forward(self, x: Float[Tensor, "*b s c"]) -> Float[Tensor, "*b s c"]:
        length = x.shape[-2]
        if length <= self.size:
            return _left(self.matrix[:length, :length], x)
        if self.everywhere:
            return _left(_longer_matrix(length, self.alpha, x), x)
        known = _left(self.matrix, x[..., : self.size, :])
        return F.pad(known, (0, 0, 0, length - self.size))


def _left(matrix: Tensor, x: Tensor) -> Tensor:
    """matrix @ x, as one large product instead of a small one per sample."""
    turned = x.transpose(-2, -1)
    return (turned.reshape(-1, x.shape[-2]) @ matrix.t()).view(turned.shape).transpose(-2, -1)
