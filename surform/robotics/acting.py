"""A policy made ready to act: the same answers within rounding, in less time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from surform.layers.compiler import missing_compiler

if TYPE_CHECKING:
    from surform.robotics.policy import Policy

__all__ = ["ready_to_act"]

# weights as constants: packed once, in the layout of the products that they are in
_HOW: dict[str, Any] = {"options": {"freezing": True}}
_NARROWING = 2  # maps to at most one half of the width: their weights are laid out anew


def ready_to_act(policy: Policy, *, compile: bool = False) -> Policy:
    """A copy for acting, which is not trained or saved any more.

    Batch norms are folded where the network can do it (`folded`), and weights lie in memory as
    matrix products read them fastest.

    Args:
        compile: what the network spends its time in (`compiled_parts`) is compiled by
            `torch.compile`, which happens at the first action, takes up to a minute, and packs the
            weights.

    Raises:
        ValueError: there is no C++ compiler, or the network does not say what to compile.
    """
    net: Any = policy.net
    if compile:
        _require_compiling(net)
    ready = copy.deepcopy(policy).eval().requires_grad_(False)
    if hasattr(net, "folded"):
        ready.net = net.folded().requires_grad_(False)
    for module in ready.net.modules():
        if isinstance(module, nn.Linear):
            _lay_out(module)
    if compile:
        for part in net.compiled_parts:
            _compile(ready.net, part)
    return ready


def _lay_out(linear: nn.Linear) -> None:
    """Store a narrowing map's weight by columns: MKL reads it faster, the numbers are the same."""
    weight = linear.weight
    if weight.device.type == "cpu" and _NARROWING * weight.shape[0] <= weight.shape[1]:
        linear.weight.data = weight.data.t().contiguous().t()


def _require_compiling(net: Any) -> None:
    if not getattr(net, "compiled_parts", ()):
        raise ValueError(f"{type(net).__name__} does not say what of it to compile: do without")
    reason = missing_compiler()
    if reason is not None:
        raise ValueError(f"compile: {reason}; see surform doctor")


def _compile(net: nn.Module, part: str) -> None:
    """Compile the method `part`, "module.module.method", in place."""
    place, _, method = part.rpartition(".")
    owner = net.get_submodule(place)
    setattr(owner, method, torch.compile(getattr(owner, method), **_HOW))
