"""When work in cache-sized pieces, recomputed in the backward pass, is the right thing to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["differentiable_gradients", "works_in_blocks"]


def works_in_blocks(x: Tensor) -> bool:
    """True for eager float32/float64 work on the CPU, empty batches aside.

    There memory traffic costs more than a second matrix product. Compilers, exporters and GPUs get
    the plain expression, and so does autocast, which decides dtypes op by op.
    """
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and bool(x.numel())
        and not torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
        and not torch.is_autocast_enabled("cpu")
    )


def differentiable_gradients(
    plain: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor],
    needed: Sequence[bool],
    outer: Tensor | tuple[Tensor, ...],
) -> list[Tensor | None]:
    """Gradients of `plain(*inputs)` that can themselves be differentiated (None where not needed).

    For the backward of a custom function under `create_graph=True`.
    """
    # Views are nodes of their own: one input may have been computed from another.
    views = [x.view_as(x) for x in inputs]
    wanted = [x for x, need in zip(views, needed, strict=True) if need]
    found = iter(torch.autograd.grad(plain(*views), wanted, outer, create_graph=True))
    return [next(found) if need else None for need in needed]
