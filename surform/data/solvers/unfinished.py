"""The state of a long computation, kept in a file so that it goes on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from surform.data.atomic import replacing

__all__ = ["Unfinished"]


class Unfinished:
    """One file of named tensors, replaced in one step; without a path nothing is kept.

    Args:
        path: the file.
        begin: called before each save, to make what must stand beside the file.
        patience: seconds between two saves.
    """

    def __init__(
        self,
        path: Path | None = None,
        begin: Callable[[], None] = lambda: None,
        patience: float = 60.0,
    ) -> None:
        self.path, self.begin, self.patience = path, begin, patience
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor]:
        """What was saved last; empty when nothing (readable) was."""
        if self.path is None or not self.path.exists():
            return {}
        try:
            # memory as torch lays it out: vector units round by where numbers begin
            return {name: value.clone() for name, value in load_file(self.path).items()}
        except (SafetensorError, OSError):
            return {}

    def save(self, state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Save what `state()` returns, unless the last save was a short time ago."""
        if self.path is None or time.monotonic() - self._saved < self.patience:
            return
        tensors = {name: t.detach().cpu().contiguous() for name, t in state().items()}
        self.begin()
        with replacing(self.path) as new:
            save_file(tensors, new)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Forget the state: the computation has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
