"""How the windows of large data are read from files: which chunks are kept, and in which order."""

from __future__ import annotations

import warnings
from typing import Any

from surform.data.blocks import BlockCache, Blocks, plan_blocks
from surform.data.stores import FileStore
from surform.data.windows import FieldWindows

__all__ = ["advise", "read_in_order", "shuffle_by_chunks"]

# Frames are added to a chunk up to so many bytes: where windows cross into the next one, it is read
# for both.
_BLOCK_BYTES = 4 * 2**20
# Up to so many bytes a block, each of (4, 2) turns of the batch has blocks of its own.
_PHASES = ((4, 16 * 2**20), (2, 64 * 2**20))


def read_in_order(windows: FieldWindows, samples: range) -> None:
    """Evaluation takes the windows one after the other: keep the chunks read last."""
    store = windows.store
    if isinstance(store, FileStore):
        blocks = _plan(windows, store, samples)
        store.cache = BlockCache(store.source, blocks, samples, store.dtype, 2)


def shuffle_by_chunks(
    windows: FieldWindows, samples: range, batch_size: int, workers: int
) -> dict[str, Any]:
    """Options of the `BatchOrder` in which windows of one chunk come soon after one another.

    It depends on the windows and on how the files are stored, not on the processes.
    """
    store = windows.store
    if not isinstance(store, FileStore):
        return {}
    blocks = _plan(windows, store, samples)
    phases = next((count for count, most in _PHASES if blocks.nbytes <= most), 1)
    # batch k is made by worker k mod workers
    turns = phases // workers if workers and phases % workers == 0 else phases
    store.cache = BlockCache(store.source, blocks, samples, store.dtype, turns * batch_size)
    return {"blocks": blocks.numbers(*windows.places()), "phases": phases}


def advise(windows: FieldWindows, samples: range) -> None:
    """Warn where windows at random read the same chunks many times."""
    store = windows.store
    if isinstance(store, FileStore):
        gain = _plan(windows, store, samples).gain
        if gain > 2:
            warnings.warn(
                f"windows of {store.source.name} are read at random, each with its whole chunks: "
                f"data.shuffle chunks would read {gain:.0f} times less",
                stacklevel=2,
            )


def _plan(windows: FieldWindows, store: FileStore, samples: range) -> Blocks:
    return plan_blocks(store.source, windows.starts, _BLOCK_BYTES, store.dtype.itemsize, samples)
