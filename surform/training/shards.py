"""Weights that are spread over processes (DTensors), and whole ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

__all__ = ["gathered", "is_sharded", "like", "part_bytes", "whole"]


def is_sharded(tensor: Any) -> bool:
    """Whether this process holds only its part of a tensor."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, where it was; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, weight: Tensor) -> Tensor:
    """A whole value, the same in every process, with the weight's device and shards.

    A value per row of the weight is cut like its rows; others of another shape stay whole.
    """
    value = value.detach().to(weight.device)
    if not isinstance(weight, DTensor) or isinstance(value, DTensor):
        return value
    if value.shape not in (weight.shape, weight.shape[:1]):  # an optimizer's count of steps, say
        return value
    # each process cuts its own part: no communication
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)


def part_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor in this process."""
    own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return own.numel() * own.element_size()


def gathered(tree: Any, keep: bool) -> Any:
    """Nested values with every sharded tensor whole and on the CPU; every process must ask.

    Args:
        keep: whether this process wants the values; otherwise their shapes only (meta tensors).
    """

    def gather(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        found = whole(value.detach())
        return found.cpu() if keep else torch.empty_like(found, device="meta")

    return tree_map(gather, tree)
