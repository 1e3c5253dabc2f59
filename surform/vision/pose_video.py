"""A video with the poses of each frame drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.data.faults import first_line, refuse_unreadable
from surform.data.outputs import check_output
from surform.data.solvers.progress import progress_bar
from surform.vision.person_boxes import ImageBoxes, read_boxes, whole_image
from surform.vision.pose_files import drawn, write_rows
from surform.vision.pose_predicting import Poser, rows_of

__all__ = ["predict_video"]


def predict_video(poser: Poser, source: str, out: Path, boxes: str | None) -> Path:
    """Write `out` (.mp4) and, beside it, the poses of all frames as .json; returns `out`.

    Args:
        boxes: see `read_boxes`; the number of a frame, from 0, is its `image_id`. None: the whole
            frame.

    Raises:
        ImportError: without surform[video].
        ValueError: what is no video, or another kind of output.
    """
    if out.suffix != ".mp4":
        raise ValueError(f"a video with poses is written to a .mp4 file, not to {out}")
    refuse_unreadable(source)
    for path in (out, out.with_suffix(".json")):
        check_output(path, [source, boxes])
    refuse_folder(out, "--out")
    av = require_extra("av", "video", "reading and writing videos")
    rows: list[dict[str, Any]] = []
    try:
        with av.open(source) as film, replacing(out) as partial:
            if not film.streams.video:
                raise ValueError(f"{source} has no pictures, only sound")
            given = film.streams.video[0]
            with av.open(str(partial), "w", format="mp4") as made:
                _draw(poser, film, given, made, boxes, rows, Path(source).name)
    except av.FFmpegError as error:
        raise ValueError(f"{source} cannot be read as a video ({first_line(error)})") from error
    write_rows(out.with_suffix(".json"), rows)
    return out


def _draw(
    poser: Poser, film: Any, given: Any, made: Any, boxes: str | None, rows: list[Any], name: str
) -> None:
    import av

    track: Any = None
    own = None if boxes is None else _frames(boxes, given.frames)
    with progress_bar(f"looking for poses in {name}") as progress:
        for number, frame in enumerate(film.decode(given)):
            pixels = _upright(frame)
            size = (pixels.shape[0], pixels.shape[1])
            track = _track(made, size, given.average_rate or 25) if track is None else track
            persons = whole_image(number, size) if own is None else own.get(str(number))
            if persons is not None:
                found = poser.poses(pixels, persons, f"frame {number} of {name}")
                rows += rows_of(name, found)
                pixels = drawn(poser, pixels, found)
            picture = av.VideoFrame.from_ndarray(
                pixels[: track.height, : track.width].copy(), format="rgb24"
            )
            for packet in track.encode(picture):
                made.mux(packet)
            progress((number + 1) / max(given.frames, number + 1))
    if track is None:
        raise ValueError(f"{name} holds no frame that can be read")
    for packet in track.encode():
        made.mux(packet)


def _upright(frame: Any) -> np.ndarray:
    """(H, W, 3) uint8, turned as telephones ask for beside their pixels."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels


def _track(made: Any, size: tuple[int, int], rate: Any) -> Any:
    track = made.add_stream("libx264", rate=rate)
    track.height, track.width = (side // 2 * 2 for side in size)  # as H.264 asks for
    track.pix_fmt = "yuv420p"
    return track


def _frames(boxes: str, count: int) -> dict[str, ImageBoxes]:
    """Boxes by the frames' numbers; a film that does not say how many it has may have any."""
    return read_boxes(boxes, [str(number) for number in range(count or 10**6)])
