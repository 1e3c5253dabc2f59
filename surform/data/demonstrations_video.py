"""Frames of videos by their numbers, through PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from surform.data.extras import require_extra
from surform.data.faults import first_line, refuse_unreadable

__all__ = ["read_frames", "write_video"]


def read_frames(
    path: str, start: float, fps: float, numbers: range, shape: tuple[int, ...], where: str
) -> UInt8[np.ndarray, "n h w 3"]:
    """The frames at start + number / fps [s] of a video, for consecutive numbers.

    Args:
        shape: (height, width, 3) that they must have.
        where: names them in errors.

    Raises:
        ValueError: it cannot be decoded, lacks frames, or has others than `shape`.
        ImportError: PyAV is missing.
    """
    av = require_extra("av", "video", "reading or writing videos")
    refuse_unreadable(path)
    found: dict[int, np.ndarray] = {}
    try:
        with av.open(path) as film:
            if not film.streams.video:
                raise ValueError(f"{path} has no pictures")
            for number, frame in _from(film, start, fps, numbers):
                found[number] = frame.to_ndarray(format="rgb24")
                if found[number].shape != shape:
                    raise ValueError(
                        f"{where}: {path} has frames of shape {found[number].shape}, but the data "
                        f"set says {shape}"
                    )
    except (av.FFmpegError, RuntimeError) as error:
        raise ValueError(
            f"{where}: {path} cannot be decoded ({first_line(error)}): a damaged file, or a codec "
            "that this PyAV lacks"
        ) from error
    missing = [number for number in numbers if number not in found]
    if missing:
        raise ValueError(
            f"{where}: {path} has {len(found)} of {len(numbers)} frames, number {missing[0]} is "
            "missing"
        )
    return np.stack([found[number] for number in numbers])


def _from(film: Any, start: float, fps: float, numbers: range) -> Any:
    """(number, frame) of those that are asked for; decoding begins at the key frame before."""
    stream = film.streams.video[0]
    stream.thread_type = "AUTO"
    first = start + numbers.start / fps
    film.seek(max(0, int((first - 0.5 / fps) / stream.time_base)), stream=stream, backward=True)
    for frame in film.decode(stream):
        number = round((frame.time - start) * fps)
        if number >= numbers.stop:
            return
        if number >= numbers.start:
            yield number, frame


def write_video(path: Path, frames: Any, fps: float, codec: str = "libx264") -> int:
    """Write pictures (h, w, 3) uint8 with even sides as an .mp4; returns how many.

    Raises:
        ValueError: odd sides, which H.264 in 4:2:0 does not have, or no such codec.
    """
    from fractions import Fraction

    av = require_extra("av", "video", "reading or writing videos")
    count, track = 0, None
    try:
        with av.open(str(path), "w", format="mp4") as film:
            for pixels in frames:
                if track is None:
                    height, width = pixels.shape[:2]
                    if height % 2 or width % 2:
                        raise ValueError(
                            f"images are {height} x {width}, but videos have even sides: write "
                            "images as columns instead"
                        )
                    track = film.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
                    track.height, track.width, track.pix_fmt = height, width, "yuv420p"
                    track.options = {"crf": "18", "g": "10"}
                for packet in track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    film.mux(packet)
                count += 1
            if track is not None:
                film.mux(track.encode())
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be written by {codec} ({first_line(error)})") from error
    return count
