"""A file for HDF5 that tells of its first failed write while there is still time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

__all__ = ["CheckedFile"]


class CheckedFile(io.FileIO):
    """A file that keeps its first error for `check`: HDF5 may crash on errors while closing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failure: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data)
        try:
            done = 0
            while done < view.nbytes:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self._failure = self._failure or error
        return view.nbytes

    def check(self) -> None:
        """Raise the error that a write met."""
        if self._failure is not None:
            raise self._failure

    def __exit__(self, *what: Any) -> None:
        super().__exit__(*what)
        self.check()
