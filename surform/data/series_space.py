"""Room for tables: memory, or a memory-mapped file that vanishes with its last user."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Space", "take_rows"]

_MEMORY_LIMIT = 2 * 2**30
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Space:
    """Where and how values are held.

    Args:
        dtype: of the values.
        cache: "memory", "files", or "auto": a file from 2 GiB on.
    """

    dtype: np.dtype
    cache: Literal["auto", "memory", "files"] = "auto"

    def empty(self, rows: int, columns: int) -> np.ndarray:
        """An array `(rows, columns)`; the file, if it is one, lies in $SURFORM_CACHE or the
        system's folder for temporary files and has no name.

        Raises:
            OSError: the disk is full.
        """
        size = rows * columns * self.dtype.itemsize
        if not size or self.cache == "memory" or (self.cache == "auto" and size < _MEMORY_LIMIT):
            return np.empty((rows, columns), self.dtype)
        folder = os.environ.get("SURFORM_CACHE")
        if folder:
            os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            # taken now: a full disk would kill the process at the first touch of a page
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, self.dtype, "r+", 0, (rows, columns))


def take_rows(values: np.ndarray, rows: np.ndarray, space: Space) -> np.ndarray:
    """`values[rows]` in room of its own; row -1 becomes NaN."""
    found = space.empty(len(rows), values.shape[1])
    size = max(1, _BLOCK_BYTES // max(1, values.shape[1] * values.itemsize))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        found[start : start + len(part)] = values[part]
        found[start : start + len(part)][part < 0] = np.nan
    return found
