"""Arrays in files that are opened when they are read; few files stay open at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

import numpy as np

from surform.data.faults import parsing

__all__ = ["OpenFiles", "Stored"]


class OpenFiles:
    """The files that were used last, by path. Others close; each process opens its own.

    Args:
        opener: opens a path, as a mapping of arrays. Sent to other processes by name.
        most: how many stay open.
    """

    def __init__(self, opener: Callable[[str], Mapping[str, Any]], most: int) -> None:
        self.opener, self.most = opener, most
        self._begin()

    def __getitem__(self, path: str) -> Mapping[str, Any]:
        if self._process != os.getpid():  # a handle inherited by a fork is the parent's
            self._begin()
        with self._lock:
            found = self._open.get(path)
        if found is None:
            found = self.opener(path)  # other threads need not wait for it
        self.keep(path, found)
        return found

    def keep(self, path: str, opened: Mapping[str, Any]) -> None:
        """Have a file that is open already."""
        with self._lock:
            self._open[path] = opened
            self._open.move_to_end(path)
            while len(self._open) > self.most:
                self._open.popitem(last=False)  # what nobody else holds closes itself

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Close what is open; it opens again when it is read."""
        self._open.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenFiles, (self.opener, self.most)

    def _begin(self) -> None:
        self._process, self._lock = os.getpid(), RLock()
        self._open: OrderedDict[str, Mapping[str, Any]] = OrderedDict()


class Stored:
    """One array of a file, as NumPy arrays are indexed; nothing is held between two reads.

    Args:
        files: open the file.
        path: of the file.
        name: of the array in it.
        shape: as stored.
        dtype: as stored.
        chunks: as stored; None where the array lies in one piece.
    """

    def __init__(
        self,
        files: OpenFiles,
        path: str,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        chunks: tuple[int, ...] | None = None,
    ) -> None:
        self.files, self.path, self.name = files, path, name
        self.shape, self.dtype, self.chunks = tuple(shape), np.dtype(dtype), chunks

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        with parsing(self.path):
            return np.asarray(self.files[self.path][self.name][key])
