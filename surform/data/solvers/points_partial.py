"""The unfinished output of a solver on meshes, which a later run of the same request continues."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from surform.data.atomic import publish, replacing
from surform.data.points import PointSample
from surform.data.points_rows import copy_to_hdf5
from surform.data.points_write import PointsWriter
from surform.data.solvers.options import points_description
from surform.data.solvers.request import Request

__all__ = ["PointsPartial"]


class PointsPartial:
    """The folder `<name>.partial`: a Zarr store of samples and a note of what is being made.

    The store itself tells how many of its samples are whole, after a kill at any moment.

    Args:
        target: final name of the output.
        request: what is being made; an earlier beginning must have the same.
        fresh: forget an earlier beginning.

    Raises:
        FileExistsError: the folder belongs to another request.
    """

    def __init__(self, target: Path, request: Request, fresh: bool = False) -> None:
        description = points_description(request.solver)
        if description is None:
            raise ValueError(f"{request.solver} makes no samples on meshes")
        self.target, self.request, self.description = target, request, description
        self.folder = target.with_name(f"{target.name}.partial")
        self._data = self.folder / "data.zarr"
        self._note = self.folder / "progress.json"
        self._attributes = request.attributes(target)
        begun = {} if fresh else self._read_note()
        if begun:
            request.check_same(self.folder, begun, exact=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._writer: PointsWriter | None = None
        self.done = self._open().samples if begun else 0

    def write(self, sample: PointSample) -> None:
        """Add the next sample; after each block of the request all so far are on disk."""
        writer = self._writer or self._begin()
        writer.append(sample)
        self.done = writer.samples
        numbers = self.request.own_samples()
        if self.done % self.request.batch == 0 or self.done == len(numbers):
            writer.flush()

    def publish(self) -> None:
        """Give the finished output its final name."""
        writer = self._writer or self._open()
        writer.close()
        if self.target.suffix == ".zarr":
            publish(self._data, self.target)  # one rename: a kill finds the samples here or there
        else:
            with replacing(self.target) as new:
                copy_to_hdf5(writer.rows, new)
        shutil.rmtree(self.folder)

    def _begin(self) -> PointsWriter:
        with replacing(self._note) as new:
            new.write_text(json.dumps(self._attributes))
        return self._open()

    def _open(self) -> PointsWriter:
        self._writer = PointsWriter(self._data, self.description, self._attributes, resume=True)
        return self._writer

    def _read_note(self) -> dict[str, Any]:
        try:
            return json.loads(self._note.read_text())
        except (FileNotFoundError, ValueError):
            return {}
