"""The unfinished output of a solver run, which a later run of the same request continues."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import zarr

from surform.data.atomic import publish, replacing
from surform.data.solvers.request import Request
from surform.data.solvers.samples import Solution
from surform.data.solvers.store import consolidate, create_store, write_block
from surform.data.solvers.unfinished import Unfinished
from surform.data.solvers.written import open_store, write_file
from surform.data.solvers.written_table import TABLES, write_table

__all__ = ["Partial"]


class Partial:
    """The folder `<name>.partial`: a Zarr store and a note of how many blocks of it are complete.

    The note is written after the block, and replaced in one step: after a kill at any moment the
    blocks that it counts are whole.

    Args:
        target: final name of the output.
        request: what is being made; an earlier beginning must have the same.
        fresh: forget an earlier beginning.

    Raises:
        FileExistsError: the folder belongs to another request.
    """

    def __init__(self, target: Path, request: Request, fresh: bool = False) -> None:
        self.target, self.request = target, request
        self.folder = target.with_name(f"{target.name}.partial")
        self._data = self.folder / "data.zarr"
        self._note = self.folder / "progress.json"
        self._group: zarr.Group | None = None
        note = {} if fresh else self._read_note()
        if not note:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            request.check_same(self.folder, note["attributes"], exact=True)
            for cut in self._data.rglob("*.partial"):  # chunks that Zarr was writing at a kill
                cut.unlink()
        self.done: int = note.get("blocks", 0)

    def write(self, solution: Solution) -> None:
        """Add the next block."""
        block = self.request.blocks()[self.done]
        numbers = self.request.own_samples()
        attributes = self.request.attributes(self.target)
        if self.done == 0:
            self._group = create_store(
                self._data, solution, numbers, self.request.batch, attributes
            )
        group = self._group or zarr.open_group(self._data, mode="r+")
        write_block(group, solution, block, numbers.start)
        self._write_note(attributes, self.done + 1)
        self._group, self.done = group, self.done + 1

    def unfinished(self) -> Unfinished:
        """Where the solver may keep the state of the next block."""

        def begin() -> None:
            if self.done == 0:
                self._write_note(self.request.attributes(self.target), 0)

        return Unfinished(self.folder / f"block-{self.done}.safetensors", begin)

    def publish(self) -> None:
        """Give the finished output its final name."""
        consolidate(self._data)
        if self.target.suffix == ".zarr":
            publish(self._data, self.target)  # one rename: a kill finds the blocks here or there
        else:
            with replacing(self.target) as new:
                attributes = self.request.attributes(self.target)
                data = open_store(self._data)
                if self.target.suffix in TABLES:
                    write_table(data, new, self.target, attributes)
                else:
                    write_file([data], new, attributes)
        shutil.rmtree(self.folder)

    def _write_note(self, attributes: dict[str, Any], blocks: int) -> None:
        with replacing(self._note) as new:
            new.write_text(json.dumps({"attributes": attributes, "blocks": blocks}))

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return note if self._data.exists() or note["blocks"] == 0 else {}
