"""The memory of the tensors that a computation makes, counted as they come and go."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LiveMemory"]


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors made while it is entered: alive now, and most at any time.

    Each storage counts once, until it is freed, whoever made it; what operators use inside and what
    an allocator keeps for later does not count.

    Args:
        known: tensors that are there already: views of them are no new memory.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = [_own(tensor).untyped_storage() for tensor in known]
        self._alive = {storage._cdata for storage in self._known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, Tensor):
                self._count(_own(value))
        return found

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or not size or tensor.device.type == "meta":
            return
        self._alive.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, key, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def _own(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return getattr(tensor, "_local_tensor", tensor)
