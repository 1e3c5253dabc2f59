"""Data loaders that leave order to `BatchOrder` and global random numbers alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset

from surform.data.batches import FieldBatch
from surform.data.order import BatchOrder
from surform.data.stores import FileStore
from surform.data.windows import FieldWindows

__all__ = ["gather_objects", "joint_processes", "make_loader", "process_group", "whole_batches"]


def make_loader(windows: FieldWindows, order: BatchOrder, workers: int) -> DataLoader[FieldBatch]:
    """A loader of whole batches. Data in memory are gathered here, faster than workers send them.

    Raises:
        ValueError: workers for data that live in this process only.
    """
    store = windows.store
    context = None
    if not isinstance(store, FileStore):
        workers = 0
    elif workers and store.source.in_memory:
        raise ValueError(f"{store.source.name} lives in this process: set workers to 0")
    elif workers and not store.source.fork_safe:
        context = "forkserver"
    return whole_batches(windows, order, workers, context)


def whole_batches(
    windows: Dataset[Any], order: BatchOrder, workers: int = 0, context: str | None = None
) -> DataLoader[Any]:
    """A loader of windows that make a whole batch from a list of window numbers."""
    return DataLoader(
        windows,
        sampler=order,
        batch_size=None,
        collate_fn=_whole,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # its own generator: otherwise every epoch would draw from the global one
        generator=torch.Generator(),
    )


def joint_processes(trainer: Any) -> tuple[int, int]:
    """This process' rank, and how many there are."""
    if trainer is not None:
        return trainer.global_rank, trainer.world_size
    return process_group()


def process_group() -> tuple[int, int]:
    """This process' rank, and how many there are that can exchange what they found."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def gather_objects(part: Any) -> list[Any]:
    """What every process gave, in the order of their ranks; all must call it."""
    ranks = process_group()[1]
    if ranks == 1:
        return [part]
    parts: list[Any] = [None] * ranks
    distributed.all_gather_object(parts, part)
    return parts


def _whole(batch: Any) -> Any:
    return batch
