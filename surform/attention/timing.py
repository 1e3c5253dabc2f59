"""How long the kernels of one kind take for one call, and how much memory beside its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor

from surform.attention.dispatch import explain, function, kernels, use

__all__ = ["Timing", "heads_inside", "peak_memory", "time_kernels"]


@dataclass(frozen=True)
class Timing:
    """Median times of a run, by the clock and of this process's processor time, which does not
    count other programs; most memory in use beside inputs and results, in bytes."""

    milliseconds: float
    cpu_milliseconds: float
    extra_bytes: int | None


def heads_inside(*shape: int, **options: Any) -> Tensor:
    """Random numbers for `example`, heads cut out of (batch, *tokens, heads * width)."""
    if len(shape) == 2 or shape[-1] == shape[-2]:  # weights of norms; axial kernels
        return torch.randn(shape, **options)
    batch, heads, *rest, width = shape
    return torch.randn(batch, *rest, heads, width, **options).movedim(-2, 1)


def time_kernels(
    kind: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    backward: bool = False,
    repeats: int = 5,
    only: set[str] | None = None,
) -> dict[str, Timing]:
    """Timings of every kernel that can run this call; the kernels alternate, medians are kept.

    only: these kernels and no others.
    """
    for leaf in _leaves((args, kwargs)):  # some kernels have no gradient
        leaf.requires_grad_(backward)
    refused = {
        name for name, verdict, _ in explain(kind, *args, **kwargs).rows if verdict == "refused"
    }
    names = [kernel.name for kernel in kernels(kind)]
    names = [n for n in names if n not in refused and (only is None or n in only)]
    runs = {name: _run(kind, name, args, kwargs, backward) for name in names}
    memory = {name: peak_memory(run) for name, run in runs.items()}  # and a first run to warm up
    wall: dict[str, list[float]] = {name: [] for name in names}
    busy: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, run in runs.items():
            _wait()
            start, cpu_start = time.perf_counter(), time.process_time()
            run()
            _wait()
            wall[name].append(1e3 * (time.perf_counter() - start))
            busy[name].append(1e3 * (time.process_time() - cpu_start))
    return {name: Timing(median(wall[name]), median(busy[name]), memory[name]) for name in names}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = tuple(value.values())
    return (
        [leaf for one in value for leaf in _leaves(one)] if isinstance(value, (tuple, list)) else []
    )


def _run(
    kind: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], backward: bool
) -> Callable[[], Any]:
    call, asked = function(kind), cast(Any, {kind: name})
    leaves = [leaf.requires_grad_(backward) for leaf in _leaves((args, kwargs))]

    def forward() -> Tensor:
        with use(**asked):
            return call(*args, **kwargs)

    if not backward:
        return torch.no_grad()(forward)
    cotangent = torch.ones_like(forward())

    def both() -> Any:
        out = forward()
        # what has no gradient, such as the rotations of a hash, gives None
        return out.detach(), torch.autograd.grad(out, leaves, cotangent, allow_unused=True)

    return both


def peak_memory(run: Callable[[], Any]) -> int | None:
    """Most bytes that torch held during `run` beside what it returns; None where unknown.

    On CUDA the allocator counts; on a CPU the profiler's record of allocations is summed up.
    """
    if torch.cuda.is_available():
        _wait()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        kept = run()
        peak = torch.cuda.max_memory_allocated()
        return max(0, peak - before - _size(kept))
    return _peak_on_cpu(run)


def _size(kept: Any) -> int:
    return sum(leaf.untyped_storage().nbytes() for leaf in _leaves(kept))


def _peak_on_cpu(run: Callable[[], Any]) -> int | None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = run()
    total = peak = 0
    results = record.profiler.kineto_results if record.profiler is not None else None
    if results is None:
        return None
    events: list[Any] = list(results.events())
    changes = [event for event in events if event.name() == "[memory]"]
    for event in sorted(changes, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return max(0, peak - _size(kept))
