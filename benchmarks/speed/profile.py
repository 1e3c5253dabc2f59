"""Where the processor's time of a call goes, by what its operations do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from surform.attention.dispatch import use

__all__ = ["GROUPS", "arithmetic", "where_time_goes"]

# what operations do -> parts of their names; the first that fits counts
GROUPS: dict[str, tuple[str, ...]] = {
    "products": ("mm", "conv", "attention", "surform::", "linear", "einsum", "fft"),
    "norms_and_sums": ("norm", "softmax", "::sum", "::mean", "::amax", "logsumexp", "var"),
    "copies": ("copy", "cat", "index", "gather", "embedding", "scatter", "pad", "fill", "zero",
               "clone", "stack", "sort", "topk", "unfold", "im2col", "upsample", "constant"),
    "optimizer": ("adam",),
}  # fmt: skip
_STRUCTURE = ("autograd::", "Optimizer", "ProfilerStep")  # names of what holds operations


class _Counter(TorchDispatchMode):
    """Adds up the operations of all that `torch.utils.flop_counter` knows."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if func is torch.ops.aten.convolution_backward.default:  # torch's count forgets groups
            grad, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
            whole = x if transposed else grad
            self.total += 2 * whole.numel() * weight[0].numel() * sum(wanted[:2])
        elif count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def arithmetic(run: Callable[[], object]) -> int:
    """Operations of all matrix products and convolutions, on the literal path of attention."""
    with use("reference"), _Counter() as counted:
        run()
    return counted.total


def where_time_goes(run: Callable[[], object]) -> dict[str, float]:
    """Shares of the processor's time: of `GROUPS`, elementwise operations, and all else.

    All else is Python, autograd, the choice of kernels, and those in C++ of this package, which the
    profiler does not see (FactFormer, IFactFormer, GNOT).
    """
    run()
    seconds = dict.fromkeys([*GROUPS, "elementwise"], 0.0)
    start = time.process_time()
    run()
    whole = time.process_time() - start
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    events: Any = seen.key_averages()
    held = 0.0
    for event in events:
        if event.key.startswith(_STRUCTURE):
            continue
        if not event.key.startswith(("aten::", "surform", "fft")):
            continue
        own = event.self_cpu_time_total / 1e6
        seconds[_group(event.key)] += own
        held += own
    whole = max(whole, held)
    return {name: value / whole for name, value in seconds.items()} | {"rest": 1 - held / whole}


def _group(name: str) -> str:
    for group, parts in GROUPS.items():
        if any(part in name for part in parts):
            return group
    return "elementwise"
