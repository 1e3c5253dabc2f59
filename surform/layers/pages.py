"""Large tensors on huge pages: what a training step keeps is mapped anew in every step."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["large_empty"]

_LARGE_BYTES = 1 << 23
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux


def large_empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """An uninitialised CPU tensor in the dtype of `like`, on huge pages where the system has them.

    First touching 4 KB pages costs as much time as a matrix product on them.
    """
    count = math.prod(shape)
    if _ADVICE is None or count * like.element_size() < _LARGE_BYTES:
        return like.new_empty(*shape)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, count * like.element_size(), flags=flags)
    try:
        memory.madvise(_ADVICE)
    except OSError:  # a kernel without huge pages
        return like.new_empty(*shape)
    return torch.frombuffer(memory, dtype=like.dtype, count=count).view(*shape)
