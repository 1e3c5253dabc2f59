"""Activation checkpointing: what lies inside a function is made again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["recomputed"]


def recomputed(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """function(*arguments), of which only the arguments are kept for the backward pass.

    Random numbers are drawn alike both times. Exported programs hold the function itself.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_exporting():
        return function(*arguments)
    return checkpoint(function, *arguments, use_reentrant=False)  # type: ignore[no-any-return]
