"""What batches of tensors have in common: they can be mapped, moved and pinned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["TensorBatch"]


class TensorBatch:
    """Base of dataclasses whose fields are tensors or None; others override `map`."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The batch with `function` applied to every tensor."""
        own: Any = self
        values = {item.name: getattr(own, item.name) for item in fields(own)}
        return replace(own, **{n: function(v) for n, v in values.items() if v is not None})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The batch in page-locked memory, as data loaders ask for."""
        return self.map(lambda tensor: tensor.pin_memory())
