"""Softmax over a last axis of few entries.

torch's CPU kernel vectorises along the axis and falls back to scalar code for what does not fill a
register: over 8 or 12 entries it takes about fifteen times as long as the four plain operations
here, which vectorise over all rows at once. In float64, in which digits are compared, torch's
order of operations is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["SHORT", "softmax_rows"]

SHORT = 16  # float32 numbers of a vector register: rows of this length and more suit torch's kernel


def softmax_rows(scores: Tensor, divisor: float = 1.0) -> Tensor:
    """softmax(scores / divisor) over the last axis (..., m), for short and for long rows."""
    plain = scores.device.type != "cpu" or scores.dtype != torch.float32
    if plain or torch.compiler.is_compiling() or not 0 < scores.shape[-1] < SHORT:
        return torch.softmax(scores if divisor == 1.0 else scores / divisor, dim=-1)
    return _ShortRows.apply(scores, divisor)  # type: ignore[no-any-return]


class _ShortRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, divisor: float) -> Tensor:
        ctx.divisor = divisor
        scores = scores if divisor == 1.0 else scores / divisor
        weights = (scores - scores.amax(-1, keepdim=True)).exp_()
        weights.div_(weights.sum(-1, keepdim=True))
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        centred = outer[0] - (weights * outer[0]).sum(-1, keepdim=True)
        return centred.mul(weights).div(ctx.divisor), None
