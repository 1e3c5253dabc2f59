"""Sums and exponentials of 16-bit numbers in float32."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["widened"]


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in float32 at least; float64 stays."""
    wide = torch.promote_types(tensors[0].dtype, torch.float32)
    return tuple(tensor.to(wide) for tensor in tensors)
