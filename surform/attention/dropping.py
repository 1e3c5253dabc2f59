"""Dropout with masks from raw random bits: on CPUs torch draws one number per element instead."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["dropout"]

_LEVELS = 2**16  # one 16-bit number per element; four of them from one draw


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with a share p of its elements set to zero and the others scaled up; always applied.

    On CPUs p is rounded to the nearest multiple of 2**-16 and the scale fits that share exactly, so
    that the mean is kept. The bits come from torch's global generator, whose seed decides as usual.
    """
    if not 0.0 <= p < 1.0:
        raise ValueError(f"the share to drop is {p}, expected 0 <= p < 1")
    dropped = round(p * _LEVELS)
    if not 0 < dropped < _LEVELS or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p, training=p > 0.0)
    return x * _mask(x, dropped)


def _mask(x: Tensor, dropped: int) -> Tensor:
    """0 where a random 16-bit number falls among the `dropped` lowest, else 1 / kept share."""
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    # comparing in place as floating-point numbers vectorises; a mask of bools does not
    kept = bits.view(torch.int16)[: x.numel()].to(dtype).ge_(dropped - _LEVELS // 2)
    return kept.mul_(_LEVELS / (_LEVELS - dropped)).to(x.dtype).view(x.shape)
