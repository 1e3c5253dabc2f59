"""What every kind asks of q, k, v and masks before a kernel sees them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["certainly", "check_key_mask", "check_same_numbers", "check_tokens"]


def check_tokens(kind: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    """ValueError unless q (b, h, n, d), k (b, h, m, d) and v (b, h, m, e) go together, d > 0."""
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.ndim != 4:
            raise ValueError(
                f"{kind} attention: {name} has shape {tuple(tensor.shape)}, "
                "expected (batch, heads, tokens, width)"
            )
    if q.shape[:2] != k.shape[:2] or k.shape[:3] != v.shape[:3] or q.shape[3] != k.shape[3]:
        raise ValueError(
            f"{kind} attention: q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)} do "
            "not fit (b, h, n, d), (b, h, m, d) and (b, h, m, e)"
        )
    if q.shape[3] == 0:
        raise ValueError(f"{kind} attention: q and k have width 0, at least 1 is needed")
    check_same_numbers(kind, q, k, v)


def check_same_numbers(kind: str, *tensors: Tensor) -> None:
    """TypeError unless all tensors are floating point, of one dtype and on one device.

    Under autocast the dtypes may differ: the dispatcher then brings them to autocast's.
    """
    first = tensors[0]
    if not first.is_floating_point():
        raise TypeError(f"{kind} attention needs floating-point tensors, not {first.dtype}")
    for other in tensors[1:]:
        mixed = other.dtype != first.dtype and not torch.is_autocast_enabled(first.device.type)
        if mixed or other.device != first.device:
            raise TypeError(
                f"{kind} attention: {other.dtype} on {other.device} meets {first.dtype} on "
                f"{first.device}; all tensors need one dtype and one device"
            )


def check_key_mask(kind: str, mask: Tensor | None, k: Tensor) -> None:
    """ValueError unless mask is boolean (True = keep) of shape (b, m)."""
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"{kind} attention: mask is {mask.dtype}, expected bool (True = keep)")
    if mask.ndim != 2 or mask.shape[1] != k.shape[2] or mask.shape[0] not in (1, k.shape[0]):
        raise ValueError(
            f"{kind} attention: mask has shape {tuple(mask.shape)}, expected (batch, keys) = "
            f"({k.shape[0]}, {k.shape[2]})"
        )


def certainly(condition: bool | torch.SymBool) -> bool:
    """A comparison of sizes; of symbolic ones only what holds for every value, so that asking does
    not tie a compiled or exported graph to one side of it."""
    if not torch.compiler.is_compiling():
        return bool(condition)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)
