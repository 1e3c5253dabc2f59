"""Discrete choices of a network, so that another precision can be compared with the same ones."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["Made", "Repeated"]

_CHOICES = (torch.topk, Tensor.topk)


class Made(TorchFunctionMode):
    """Writes down which of the largest were taken: active queries, routed experts."""

    def __init__(self) -> None:
        super().__init__()
        self.indices: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in _CHOICES:
            self.indices.append(found.indices)
        return found


class Repeated(TorchFunctionMode):
    """Takes those that were taken before, whichever are the largest now."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self.indices = deque(made.indices)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in _CHOICES:
            return found
        indices = self.indices.popleft()
        axis = args[2] if len(args) > 2 else (kwargs or {}).get("dim", -1)
        return type(found)((args[0].gather(axis, indices), indices))
