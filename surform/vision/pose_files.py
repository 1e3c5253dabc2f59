"""Poses into files: COCO's rows of results, and the pictures with the poses drawn in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from surform.data.atomic import refuse_folder, replacing
from surform.data.outputs import check_output
from surform.vision.found_poses import FoundPoses
from surform.vision.pose_drawing import draw_boxes, draw_poses
from surform.vision.pose_predicting import (
    Poser,
    looked_through,
    make_poser,
    open_pictures,
    rows_of,
)

if TYPE_CHECKING:
    from surform.vision.pose_estimator import PoseEstimator

__all__ = ["VIDEOS", "drawn", "pictures_of", "predict_file"]

VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm")
_MARK = "made_by"  # file in a folder of pictures; others are not replaced
_MADE_BY = "surform predict"


def predict_file(
    model: PoseEstimator,
    source: str,
    out: str | os.PathLike[str],
    *,
    boxes: str | None = None,
    pictures: bool = True,
    **options: Any,
) -> Path:
    """Poses of images into a `.json` file, and pictures into the folder `<name>_pictures` beside.

    A video becomes a `.mp4` with the poses drawn in, and a `.json` of the same name beside it.

    Args:
        source: as for `predict`, or a video.
        boxes: see `read_boxes`; of a video, `image_id` is the number of the frame.
        pictures: whether to draw.
        options: of `make_poser`.

    Raises:
        ValueError: another kind of file, or what `predict` raises.
        FileExistsError: the folder of pictures was not made here.
    """
    path = Path(out)
    if not isinstance(pictures, bool):
        raise ValueError(f"pictures is {pictures!r}, but must be true or false")
    if not isinstance(source, str | Path):
        raise ValueError(f"poses are looked for in one file or one folder, not in {source!r}")
    if Path(source).suffix.lower() in VIDEOS:
        from surform.vision.pose_video import predict_video

        if not pictures:
            raise ValueError("pictures is false, but a video comes back as a video: leave it out")
        return predict_video(make_poser(model, **options), source, path, boxes)
    if path.suffix != ".json":
        raise ValueError(f"poses are written to a .json file, not to {path}")
    check_output(path, [source, boxes])
    refuse_folder(path, "--out")
    poser = make_poser(model, **options)
    images = open_pictures(source)
    rows: list[dict[str, Any]] = []

    def collect(show: Callable[[str, np.ndarray, FoundPoses], None]) -> None:
        for picture, found in looked_through(poser, images, boxes):
            rows.extend(rows_of(picture.name, found))
            show(picture.name, picture.pixels(), found)

    if pictures:
        folder = pictures_of(path)
        _require_own(folder)
        check_output(folder, [source, boxes])
        with replacing(folder) as partial:
            partial.mkdir(parents=True, exist_ok=True)
            (partial / _MARK).write_text(_MADE_BY + "\n", encoding="utf-8")
            collect(lambda name, pixels, found: _save(partial / name, drawn(poser, pixels, found)))
    else:
        collect(lambda name, pixels, found: None)
    write_rows(path, rows)
    return path


def pictures_of(path: Path) -> Path:
    """The folder of the pictures that belong to a file of poses."""
    return path.with_name(f"{path.stem}_pictures")


def drawn(poser: Poser, pixels: np.ndarray, found: FoundPoses) -> np.ndarray:
    """The picture with boxes and sure joints drawn in, the surest pose on top."""
    order = np.argsort(found.score, kind="stable")
    found = found.rows(order)
    sizes = found.boxes[:, 2:].max(1)
    canvas = draw_boxes(pixels, found.boxes)
    sure = found.joint_scores > poser.least_score
    return draw_poses(canvas, found.keypoints, sure, poser.keypoints, sizes=sizes)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """One row per line, all or nothing."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    with replacing(path) as partial:
        partial.write_text(f"[\n{lines}\n]\n" if rows else "[]\n", encoding="utf-8")


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        path = path.with_name(f"{path.name}.jpg")
    Image.fromarray(pixels).save(path, quality=90)


def _require_own(folder: Path) -> None:
    mark = folder / _MARK
    if folder.exists() and not (mark.is_file() and mark.read_text().strip() == _MADE_BY):
        raise FileExistsError(
            f"{folder} exists and holds no pictures of {_MADE_BY}: choose another --out, or remove "
            "it first"
        )
