"""Make samples on meshes, several at once in processes of their own."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from surform.data.child_process import follow_parent
from surform.data.solvers.mesh_samples import require_mesh_extra
from surform.data.solvers.points_partial import PointsPartial
from surform.data.solvers.points_worker import make_sample
from surform.data.solvers.request import Request

__all__ = ["in_processes", "make_points", "usable_cores"]

Made = TypeVar("Made")
Asked = TypeVar("Asked")


def make_points(
    request: Request,
    target: Path,
    workers: int,
    report: Callable[[float], None],
    fresh: bool,
) -> None:
    """Make the samples of a request that are still missing, and give the file its name.

    Args:
        request: what is asked for.
        target: name of the output.
        workers: processes; with 1 the samples are made in this one.
        report: called with the finished fraction.
        fresh: forget an earlier beginning.
    """
    require_mesh_extra(request.solver)
    partial = PointsPartial(target, request, fresh)
    total = len(request.own_samples())
    numbers = request.own_samples()[partial.done :]
    make = functools.partial(
        make_sample, request.solver, request.parameters, request.seed, request.dtype
    )
    for sample in in_processes(make, numbers, min(workers, len(numbers)), request.solver):
        partial.write(sample)
        report(partial.done / total)
    partial.publish()
    report(1.0)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    make: Callable[[Asked], Made], numbers: Sequence[Asked], workers: int, solver: str
) -> Iterator[Made]:
    """What `make` gives for each number, in their order, made in so many processes.

    Args:
        make: can be sent to other processes.
        solver: for messages.
    """
    if workers <= 1:
        yield from map(make, numbers)
        return
    # Spawned, not forked: a fork copies the locks of torch's threads but not the threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=follow_parent)
    try:
        yield from pool.map(make, numbers)
    except BrokenProcessPool as error:
        raise OSError(
            f"{solver}: a worker process was ended from outside, for want of memory perhaps; run "
            "the same again with fewer workers to continue"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
