"""How fast batches come from files, with and without workers, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from surform.bench.raw_chunks import read_raw
from surform.data.blocks import plan_blocks
from surform.data.demonstrations_samples import DemonstrationSamples
from surform.data.points_samples import PointSamples
from surform.data.pose_samples import PoseSamples
from surform.data.source import FieldSource
from surform.data.stores import FileStore

__all__ = ["COLUMNS", "chunk_gain", "measure_loading", "uses_workers", "where_time_goes"]

COLUMNS = {
    "workers": "workers",
    "first_s": "first batch (s)",
    "samples_per_s": "samples / s",
    "mb_per_s": "MB / s",
    "batch_ms": "batch (ms)",
    "epoch_s": "epoch (s)",
}


def measure_loading(
    make: Callable[[int], Any], workers: Sequence[int], batches: int, seconds: float
) -> list[dict[str, Any]]:
    """One row per number of workers, of the training loader.

    Args:
        make: a data module with so many workers.
        batches: at most, after the first one.
        seconds: at most, for these.
    """
    return [_row(make(count), batches, seconds) for count in workers]


def _row(data: Any, batches: int, seconds: float) -> dict[str, Any]:
    start = time.perf_counter()
    loader = data.train_dataloader()
    iterator = iter(loader)
    batch = next(iterator)
    first = time.perf_counter() - start
    start, count, samples, size = time.perf_counter(), 0, 0, 0
    while count < batches and (count == 0 or time.perf_counter() - start < seconds):
        batch = next(iterator, None)
        if batch is None:
            break
        count, samples, size = count + 1, samples + len(batch), size + _bytes(batch)
    taken = time.perf_counter() - start
    row: dict[str, Any] = {"workers": loader.num_workers, "first_s": first}
    if not count:  # one batch is the whole epoch
        return row | {"epoch_s": first}
    return row | {
        "samples_per_s": samples / taken,
        "mb_per_s": size / taken / 1e6,
        "batch_ms": 1000 * taken / count,
        "epoch_s": first + (len(loader) - 1) * taken / count,
        "batches": count,
    }


def _bytes(batch: Any) -> int:
    return sum(v.nbytes for v in tree_leaves(vars(batch)) if isinstance(v, Tensor))


def where_time_goes(data: Any, batches: int) -> dict[str, float]:
    """Milliseconds per training batch: reading, decompressing and collating; {} in memory.

    What was read is read again, when the system has it in memory: what that takes less is the
    disk's or the network's share. Of the rest, the bytes as stored are reading, too. Of samples on
    meshes, reading is not told from decompressing; of poses, images are read and decoded.
    """
    loader = data.train_dataloader()
    windows = loader.dataset
    store = getattr(windows, "store", None)
    if isinstance(windows, PointSamples) and not windows.in_memory:
        count, total, spent, _ = _watched(loader, windows.source, "read", batches)
        found = {"reading and decompressing": spent}
    elif isinstance(windows, PoseSamples):
        count, total, spent, _ = _watched(loader, windows.cache, "read", batches)
        return {
            "reading and decoding": 1000 * spent / count,
            "cropping and collating": 1000 * (total - spent) / count,
        }
    elif isinstance(windows, DemonstrationSamples) and windows.reads_files:
        count, total, spent, _ = _watched(loader, windows.recorded.source, "read", batches)
        return {
            "reading": 1000 * spent / count,
            "windows and collating": 1000 * (total - spent) / count,
        }
    elif isinstance(store, FileStore):
        source = store.source
        count, total, spent, calls = _watched(loader, source, "read_many", batches)
        again = _seconds(lambda: [source.read_many(*arguments) for arguments in calls])
        raw = _seconds(lambda: [read_raw(source, *arguments) for arguments in calls])
        decoding = min(max(again - raw, 0.0), spent)
        found = {"reading": spent - decoding, "decompressing": decoding}
    else:
        return {}
    found["collating"] = total - spent
    return {name: 1000 * value / count for name, value in found.items()}


def _watched(
    loader: Any, source: Any, name: str, batches: int
) -> tuple[int, float, float, list[tuple[Any, ...]]]:
    """Make batches: how many, seconds, those within the source's method, and its arguments."""
    calls: list[tuple[Any, ...]] = []
    plain, spent = getattr(source, name), 0.0

    def timed(*arguments: Any) -> Any:
        nonlocal spent
        calls.append(arguments)
        start = time.perf_counter()
        values = plain(*arguments)
        spent += time.perf_counter() - start
        return values

    count, start = 0, time.perf_counter()
    setattr(source, name, timed)
    try:
        for count, index in enumerate(loader.sampler, start=1):
            loader.dataset[index]
            if count == batches:
                break
    finally:
        delattr(source, name)
    return count, time.perf_counter() - start, spent, calls


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def uses_workers(data: Any) -> bool:
    """Whether samples are worth making in other processes: images are varied there, neighbours of
    atoms searched, windows of demonstrations read.
    """
    windows = data.train_dataloader().dataset
    if isinstance(windows, DemonstrationSamples):
        return windows.reads_files
    return any(hasattr(windows, name) for name in ("variation", "graph"))


def chunk_gain(data: Any) -> str:
    """How training reads the chunks of the files, in a sentence; "" where data are in memory."""
    windows: Any = data.train_dataloader().dataset
    store = getattr(windows, "store", None)
    if not isinstance(store, FileStore):
        return ""
    source: FieldSource = store.source
    name = source.selection.fields[0]
    chunks = source.dataset.variables[name].encoding["stored"].chunks
    itemsize = store.dtype.itemsize
    plan = plan_blocks(source, windows.starts, 4 * 2**20, itemsize, range(source.layout.samples))
    text = f"{name} lies in chunks of {chunks}" if chunks else f"{name} lies in one piece per file"
    if data.shuffle == "chunks":
        return f"{text}; each is read once per epoch (data.shuffle chunks)"
    if plan.gain < 1.05:
        return f"{text}; data.shuffle chunks would gain nothing"
    return f"{text}; with data.shuffle chunks an epoch would read {plan.gain:.1f} times less"
