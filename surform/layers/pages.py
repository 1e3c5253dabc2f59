"""Large tensors whose memory is used again: a training step keeps the same sizes in every step.

First touching fresh pages costs the processor as much time as a matrix product on them.
"""

from __future__ import annotations

import math
import mmap
import sys
import weakref
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["large_empty"]

_LARGE_BYTES = 1 << 20  # smaller ones are the C library's business
_IDLE_BYTES = 1 << 30  # idle memory beyond this goes back to the system
_IDLE: defaultdict[int, list[mmap.mmap]] = defaultdict(list)


def large_empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """An uninitialised CPU tensor in the dtype of `like`; its memory is kept for the next one."""
    count = math.prod(shape)
    size = count * like.element_size()
    if size < _LARGE_BYTES or sys.platform == "win32":
        return like.new_empty(*shape)
    memory = _take(size)
    if memory is None:  # too little memory: let torch say so
        return like.new_empty(*shape)
    # The tensor's storage owns this view; when the storage dies, the memory is idle again.
    lease = memoryview(memory)
    weakref.finalize(lease, _give_back, memory, size).atexit = False
    return torch.frombuffer(lease, dtype=like.dtype, count=count).view(*shape)


def _take(size: int) -> mmap.mmap | None:
    try:
        return _IDLE[size].pop()
    except IndexError:  # none idle, or another thread was faster
        pass
    try:
        return _mapped(size)
    except OSError:
        return None


def _mapped(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is not None:
        try:
            memory.madvise(advice)
        except OSError:  # a kernel without huge pages serves small ones
            return memory
    return memory


def _give_back(memory: mmap.mmap, size: int) -> None:
    if size + sum(bytes_ * len(idle) for bytes_, idle in list(_IDLE.items())) <= _IDLE_BYTES:
        _IDLE[size].append(memory)
