"""Make a data set with a solver: resumable, sharded, with its provenance in the attributes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from surform.data.atomic import disk_full_error, writer_lock
from surform.data.devices import available_device
from surform.data.solvers.clicks_run import make_clicks
from surform.data.solvers.options import (
    default_batch,
    find_solver,
    makes_demonstrations,
    makes_rows,
    makes_trajectory,
    pictures_set,
    points_description,
)
from surform.data.solvers.partial import Partial
from surform.data.solvers.pictures_run import make_pictures
from surform.data.solvers.points_run import make_points, usable_cores
from surform.data.solvers.progress import progress_bar
from surform.data.solvers.request import Request, shard_path
from surform.data.solvers.samples import Samples
from surform.data.solvers.trajectory_run import make_trajectory
from surform.data.solvers.written import read_attributes

__all__ = ["generate"]


def generate(
    name: str,
    out: str | Path,
    samples: int,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    batch: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    progress: bool | Callable[[float], None] | None = None,
    overwrite: bool = False,
    workers: int | None = 1,
    **parameters: Any,
) -> Path:
    """Make `samples` samples with the solver `name` and write them to `out`.

    Sample i is a function of (seed, i), and of the samples before where they are frames of one
    trajectory. A run that was stopped, killed or met a full disk is continued by the same call; a
    table of rows is begun anew. Runs with the shards (0, n) ... (n-1, n) write the parts of one
    data set, bit for bit, which `shards.join` puts together.

    Args:
        name: a key of `SOLVERS`.
        out: a local `.zarr` folder, or a `.h5`, `.hdf5` or `.nc` file (netCDF-4); of series also a
            `.csv` or `.parquet` table, of rows only that; of pictures a folder; of trajectories and
            demonstrations `.h5` alone.
        samples: size of the whole data set, over all shards; of demonstrations, episodes of each
            task.
        seed: seed of the data set.
        shard: (index, count); with count > 1 the part `<stem>.shard-<i>-of-<n>.zarr` is written.
        batch: samples computed at once; None is the solver's own choice.
        device: torch device.
        dtype: "float32" or "float64".
        progress: called with the finished fraction; True shows a progress bar.
        overwrite: replace an existing or half-finished `out` instead of checking it.
        workers: processes that make samples side by side, of solvers on meshes, of pictures and of
            demonstrations;
            None is one per core. Other solvers share the cores by torch's threads. With more than
            one, a script must guard its main part by `if __name__ == "__main__":`.
        parameters: options of the solver.

    Returns:
        The path written, which is returned at once when it already holds what is asked for.

    Raises:
        ValueError: an unknown or impossible option, or a solution that blew up.
        FileExistsError: `out`, or its unfinished part, was made by another request.
        BlockingIOError: somebody else is writing `out`.
        OSError: the disk is full.
    """
    batch = default_batch(name) if batch is None else batch
    request = Request(name, parameters, samples, seed, shard, batch, dtype)
    processes, place = _processes(name, device, workers), available_device(device)
    target = shard_path(out, shard, name)
    with writer_lock(target):
        if target.exists() and not overwrite:
            request.check_same(target, read_attributes(target), exact=False)
            # what a run that was killed right after it published has not removed
            shutil.rmtree(target.with_name(f"{target.name}.partial"), ignore_errors=True)
            return target
        try:
            with _reporter(progress, f"{name}: {target.name}") as report:
                if makes_trajectory(name):
                    make_trajectory(request, target, report, overwrite)
                elif makes_demonstrations(name):
                    # its writer imports nothing of torch, but experts may import simulators
                    from surform.data.solvers.demonstrations_run import make_demonstrations

                    make_demonstrations(request, target, processes, report, overwrite)
                elif makes_rows(name):
                    make_clicks(request, target, report)
                elif pictures_set(name) is not None:
                    make_pictures(request, target, processes, report, overwrite)
                elif points_description(name) is not None:
                    make_points(request, target, processes, report, overwrite)
                else:
                    _run(request, target, place, report, overwrite)
        except BaseException as error:
            full = disk_full_error(error, target)
            if full is None:
                raise
            raise OSError(f"{full}; free some space and run the same again to continue") from error
    return target


def _run(
    request: Request,
    target: Path,
    device: torch.device,
    report: Callable[[float], None],
    fresh: bool,
) -> None:
    solver = find_solver(request.solver)
    partial = Partial(target, request, fresh)
    total = len(request.own_samples())
    for block in request.blocks()[partial.done :]:
        before = block.start - request.own_samples().start

        def advance(fraction: float, before: int = before, size: int = len(block)) -> None:
            report((before + fraction * size) / total)

        dtype, unfinished = getattr(torch, request.dtype), partial.unfinished()
        part = Samples(block, request.seed, device, dtype, advance, unfinished)
        try:
            with torch.inference_mode():
                solution = solver(part, **request.parameters)
            partial.write(solution)
            unfinished.remove()
        except ValueError as error:
            raise ValueError(f"{request.solver}: {error}") from error
    partial.publish()
    report(1.0)


def _reporter(
    progress: bool | Callable[[float], None] | None, title: str
) -> AbstractContextManager[Callable[[float], None]]:
    if callable(progress):
        return nullcontext(progress)
    return progress_bar(title) if progress else nullcontext(lambda fraction: None)


def _processes(name: str, device: str, workers: int | None) -> int:
    """How many processes make samples; ValueError where the solver cannot work so."""
    alone = points_description(name) is not None or pictures_set(name) is not None
    alone = alone or makes_demonstrations(name)
    serial = makes_trajectory(name)
    rows = makes_rows(name)
    if (alone or serial or rows) and device != "cpu":
        raise ValueError(f"device is {device!r}, but {name} computes on the CPU only: choose 'cpu'")
    if workers is None:
        return usable_cores() if alone else 1
    if workers < 1:
        raise ValueError(f"workers is {workers}, but it must be at least 1")
    if workers > 1 and serial:
        raise ValueError(
            f"workers is {workers}, but {name} makes each frame from the one before: leave it out"
        )
    if workers > 1 and not alone:
        raise ValueError(
            f"workers is {workers}, but {name} computes its samples together: leave it out, the "
            "threads of torch use the cores"
        )
    return workers
