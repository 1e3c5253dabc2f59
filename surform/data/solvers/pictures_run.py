"""Make a folder of pictures with their annotations in COCO's format, several at once."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from surform.data.atomic import publish, replacing
from surform.data.pose_published import keypoint_set
from surform.data.solvers.options import find_solver, pictures_set
from surform.data.solvers.pictures import Picture
from surform.data.solvers.points_run import in_processes
from surform.data.solvers.request import Request

__all__ = ["make_pictures"]

_QUALITY = 95  # of JPEG


def make_pictures(
    request: Request,
    target: Path,
    workers: int,
    report: Callable[[float], None],
    fresh: bool,
) -> None:
    """Make the pictures of a request that are still missing, and give the folder its name.

    Args:
        request: what is asked for.
        target: name of the folder; it gets annotations.json and the folder images.
        workers: processes; with 1 the pictures are made in this one.
        report: called with the finished fraction.
        fresh: forget an earlier beginning.
    """
    partial = _Partial(target, request, fresh)
    numbers = range(len(partial.done), request.samples)
    make = functools.partial(_make, request.solver, request.parameters, request.seed)
    for picture in in_processes(make, numbers, min(workers, len(numbers)), request.solver):
        partial.write(picture)
        report(len(partial.done) / request.samples)
    partial.publish()
    report(1.0)


def _make(solver: str, parameters: dict[str, Any], seed: int, number: int) -> Picture:
    """Picture `number`: a function of the seed and of the number alone."""
    try:
        return find_solver(solver)(np.random.default_rng([seed, number]), **parameters)
    except ValueError as error:
        raise ValueError(f"{solver}, sample {number}: {error}") from error


class _Partial:
    """The folder `<name>.partial`: pictures, a line of annotations for each, what is being made.

    A picture is written before its line: what lines there are is whole, after a kill at any moment.

    Raises:
        FileExistsError: the folder belongs to another request.
    """

    def __init__(self, target: Path, request: Request, fresh: bool) -> None:
        self.target, self.request = target, request
        self.folder = target.with_name(f"{target.name}.partial")
        self._data, self._lines = self.folder / "data", self.folder / "lines.jsonl"
        self._note = self.folder / "progress.json"
        self._attributes = request.attributes(target)
        begun = {} if fresh else self._begun()
        if begun:
            request.check_same(self.folder, begun, exact=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            (self._data / "images").mkdir(parents=True)
            with replacing(self._note) as new:
                new.write_text(json.dumps(self._attributes))
        self.done = self._read_lines()

    def write(self, picture: Picture) -> None:
        """Add the next picture."""
        number = len(self.done)
        kind = self.request.parameters.get("format", "png")
        name = f"{number:06d}.{kind}"
        options: dict[str, Any] = {"quality": _QUALITY, "subsampling": 0} if kind == "jpg" else {}
        Image.fromarray(picture.pixels).save(self._data / "images" / name, **options)
        height, width = picture.pixels.shape[:2]
        image = {"id": number, "file_name": name, "height": height, "width": width}
        line = {"image": image, "annotations": picture.annotations}
        with self._lines.open("a") as file:
            file.write(f"{json.dumps(line)}\n")
        self.done.append(line)

    def publish(self) -> None:
        """Write the annotations, and give the finished folder its final name."""
        from surform.data.pose_open import ANNOTATIONS

        own = keypoint_set(pictures_set(self.request.solver) or "coco")
        rows = [(line["image"]["id"], entry) for line in self.done for entry in line["annotations"]]
        category = {
            "id": 1,
            "name": "person",
            "keypoints": list(own.joints),
            "skeleton": [[a + 1, b + 1] for a, b in own.skeleton],
        }
        found = {
            "info": self._attributes,
            "categories": [category],
            "images": [line["image"] for line in self.done],
            "annotations": [
                {"id": number, "image_id": image, "category_id": 1, **entry}
                for number, (image, entry) in enumerate(rows, start=1)
            ],
        }
        with replacing(self._data / ANNOTATIONS) as new:
            new.write_text(json.dumps(found))
        publish(self._data, self.target)
        shutil.rmtree(self.folder)

    def _begun(self) -> dict[str, Any]:
        try:
            return json.loads(self._note.read_text()) if self._data.is_dir() else {}
        except (FileNotFoundError, ValueError):
            return {}

    def _read_lines(self) -> list[dict[str, Any]]:
        """Whole lines; what a kill left of another one is cut off."""
        if not self._lines.exists():
            return []
        whole = self._lines.read_text().rpartition("\n")[0]
        self._lines.write_text(f"{whole}\n" if whole else "")
        return [json.loads(line) for line in whole.splitlines()]
