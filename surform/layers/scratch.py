"""Work memory that is kept from call to call: fresh pages cost as much as a matrix product."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["scratch"]

_KEPT_BYTES = 1 << 26  # more than this is given back after use


class _Kept(threading.local):
    def __init__(self) -> None:
        self.memory: dict[torch.dtype, Tensor] = {}


_KEPT = _Kept()


def scratch(like: Tensor, *shapes: Sequence[int]) -> list[Tensor]:
    """Uninitialised tensors of these shapes, in the dtype of the CPU tensor `like`.

    They are overwritten by the next call in the same thread: no result may live in them.
    """
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(sizes)
    with torch.inference_mode(False):
        memory = _KEPT.memory.get(like.dtype)
        if memory is None or memory.numel() < total:
            memory = torch.empty(total, dtype=like.dtype)
            if memory.nbytes <= _KEPT_BYTES:
                _KEPT.memory[like.dtype] = memory
        parts = memory[:total].split(sizes)
        return [part.view(*shape) for part, shape in zip(parts, shapes, strict=True)]
