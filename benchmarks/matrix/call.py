"""A model and what it is called with: what every check of the matrix takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

__all__ = ["Call", "reason", "tensors"]


@dataclass
class Call:
    """A model and what it was called with."""

    model: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def to(self, dtype: torch.dtype) -> Call:
        """Weights and numbers in another precision; whole numbers and masks as they are."""

        def cast(value: Tensor) -> Tensor:
            value = value.detach()
            return value.to(dtype) if value.is_floating_point() else value

        arguments, keywords = tree_map_only(Tensor, cast, (self.arguments, self.keywords))
        return Call(self.model.to(dtype), arguments, keywords)

    def on(self, device: str) -> Call:
        """All of it on another device."""
        given = (self.arguments, self.keywords)
        arguments, keywords = tree_map_only(Tensor, lambda value: value.to(device), given)
        return Call(self.model.to(device), arguments, keywords)

    def run(self) -> list[Tensor]:
        """Tensors of real numbers that come out, in the order of the output's leaves."""
        found = self.model(*self.arguments, **self.keywords)
        return tensors(found)


def tensors(found: Any) -> list[Tensor]:
    """The leaves that hold real numbers; of a dataclass, those of its fields."""
    if isinstance(found, Tensor):
        return [found] if found.is_floating_point() else []
    if isinstance(found, dict):
        found = list(found.values())
    elif hasattr(found, "__dataclass_fields__"):
        found = [getattr(found, name) for name in found.__dataclass_fields__]
    if not isinstance(found, list | tuple):
        return []
    return [leaf for part in found for leaf in tensors(part)]


def reason(error: Exception) -> str:
    """An error in a cell: its kind and its first sentence, without what stands in brackets."""
    words = re.sub(r" ?\([^()]*\)", "", " ".join(str(error).split()))
    return f"{type(error).__name__}: {re.split('[.;:] |[.]$', words, maxsplit=1)[0]}"
