"""Work memory that is kept from call to call: fresh pages cost as much as a matrix product."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["group_size", "scratch"]

_KEPT_BYTES = 1 << 26  # more than this is given back after use


class _Kept(threading.local):
    def __init__(self) -> None:
        self.memory: dict[torch.dtype, Tensor] = {}


_KEPT = _Kept()


def scratch(count: int, shape: Sequence[int], like: Tensor) -> list[Tensor]:
    """`count` uninitialised tensors of one shape, in the dtype of the CPU tensor `like`.

    They are overwritten by the next call in the same thread: no result may live in them.
    """
    size = math.prod(shape)
    with torch.inference_mode(False):
        memory = _KEPT.memory.get(like.dtype)
        if memory is None or memory.numel() < count * size:
            memory = torch.empty(count * size, dtype=like.dtype)
            if memory.nbytes <= _KEPT_BYTES:
                _KEPT.memory[like.dtype] = memory
        return [memory[i * size : (i + 1) * size].view(*shape) for i in range(count)]


def group_size(count: int, shape: Sequence[int], like: Tensor) -> int:
    """How many heads of `count` such tensors each fit into work memory that is kept, at least 1."""
    each = count * math.prod(shape) * like.element_size()
    return max(1, (_KEPT_BYTES - each) // max(1, each))
