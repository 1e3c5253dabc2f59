"""Frames of a run in progress: a file that only grows, and that a killed run goes on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.atomic import disk_full_error

__all__ = ["FramesFile"]

_MARK = b"surform frames 1\n"


class FramesFile:
    """Records of a fixed size behind one line of settings; what is whole of it can be read.

    A record that was cut off when a run was killed is dropped when the file is opened again.

    Args:
        path: made, or gone on with.
        atoms: their number.
        settings: plain values that a continued run must share.

    Raises:
        ValueError: the file holds frames of other settings, or is none of ours.
    """

    def __init__(
        self, path: str | os.PathLike[str], atoms: int, settings: Mapping[str, Any]
    ) -> None:
        self.path = Path(path)
        vector = (np.float64, (atoms, 3))
        self.dtype = np.dtype(
            [
                ("step", np.int64),
                ("energy", np.float64),
                ("positions", *vector),
                ("momenta", *vector),
                ("forces", *vector),
            ]
        )
        line = _MARK + json.dumps(dict(settings), sort_keys=True).encode() + b"\n"
        self.start = len(line)
        if not self.path.exists() or self.path.stat().st_size < len(_MARK):
            self.path.write_bytes(line)
        self._check(line)
        size = self.path.stat().st_size
        self.count = max(size - self.start, 0) // self.dtype.itemsize
        os.truncate(self.path, self.start + self.count * self.dtype.itemsize)

    def append(self, **values: Any) -> None:
        """Write one frame; OSError where the disk is full."""
        record = np.zeros((), self.dtype)
        for name, value in values.items():
            record[name] = value
        try:
            with open(self.path, "ab") as file:
                file.write(record.tobytes())
        except OSError as error:
            full = disk_full_error(error, self.path)
            raise full if full is not None else error from error
        self.count += 1

    def read(self) -> np.ndarray:
        """All frames, (T,) records; they stay on disk."""
        if not self.count:
            return np.zeros(0, self.dtype)
        return np.memmap(self.path, self.dtype, "r", offset=self.start, shape=(self.count,))

    def _check(self, line: bytes) -> None:
        with open(self.path, "rb") as file:
            mark, found = file.read(len(_MARK)), file.readline()
        if mark != _MARK:
            raise ValueError(f"{self.path} is no file of frames of surform: remove it")
        if mark + found == line:
            return
        try:
            old, new = json.loads(found), json.loads(line[len(_MARK) :])
        except ValueError:  # killed while the first line was written
            self.path.write_bytes(line)
            return
        other = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        listed = ", ".join(f"{name} {old.get(name)} (now {new.get(name)})" for name in other)
        raise ValueError(
            f"{self.path} belongs to a run with {listed}: give the same, another --out, or "
            "--overwrite"
        )
