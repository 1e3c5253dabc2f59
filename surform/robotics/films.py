"""Videos of episodes, and pictures of their course side by side."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np

from surform.data.atomic import replacing

__all__ = ["Film", "contact_sheet", "film_suffix"]

_STRIP = 8  # pictures of an episode on the sheet
_THUMB = 128  # largest side of one [pixels]
_GIF_RATE = 10.0  # pictures in a second at most
_GIF_SIDE = 200  # pixels
_MARGIN = 6
_COLORS = {True: (28, 127, 79), False: (179, 55, 47), None: (138, 143, 152)}


def film_suffix() -> str:
    """ ".mp4" where PyAV is installed (surform[video]), else ".gif"."""
    return ".mp4" if importlib.util.find_spec("av") else ".gif"


class Film:
    """A video that is written picture by picture, and a strip of its moments.

    The file appears under its name when the film is finished; use it in a `with` block.

    Args:
        path: ends in .mp4 or .gif.
        rate: pictures in a second; a GIF leaves out some of fast films.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self._strip: list[np.ndarray] = []
        self._stride = self._count = 0
        self._last: np.ndarray | None = None
        self._renaming = replacing(path)
        partial = self._renaming.__enter__()
        self._writer = (_Mp4 if path.suffix == ".mp4" else _Gif)(partial, rate)

    def __enter__(self) -> Self:
        return self

    def add(self, picture: np.ndarray) -> None:
        """The next picture (h, w, 3) uint8; all have the size of the first."""
        self._writer.add(picture)
        self._stride = self._stride or 1
        if self._count % self._stride == 0:
            self._strip.append(_small(picture, _THUMB))
            if len(self._strip) > 2 * _STRIP:  # keep every second, and go on so
                self._strip, self._stride = self._strip[::2], 2 * self._stride
        self._count, self._last = self._count + 1, picture

    def strip(self) -> list[np.ndarray]:
        """Eight moments, evenly spread, with the first and the last."""
        if self._last is None:
            return []
        found = [*self._strip, _small(self._last, _THUMB)]
        chosen = np.linspace(0, len(found) - 1, min(_STRIP, len(found))).round().astype(int)
        return [found[index] for index in chosen]

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self._writer.close()
        except BaseException:
            if kind is None:
                raise
        finally:
            self._renaming.__exit__(kind, error, trace)


def contact_sheet(
    strips: list[tuple[str, bool | None, list[np.ndarray]]],
) -> bytes:
    """A PNG: a row of pictures for each episode, framed green where it succeeded, else red.

    Args:
        strips: (title, success, pictures), not empty.
    """
    from io import BytesIO

    from PIL import Image, ImageDraw

    height, width = strips[0][2][0].shape[:2]
    line = height + 3 * _MARGIN + 12
    sheet = Image.new("RGB", (_STRIP * (width + _MARGIN) + _MARGIN, line * len(strips)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (title, success, pictures) in enumerate(strips):
        top = row * line + _MARGIN
        pen.text((_MARGIN, top), title, fill=_COLORS[success])
        for column, picture in enumerate(pictures):
            left = _MARGIN + column * (width + _MARGIN)
            below = top + 12 + _MARGIN
            sheet.paste(Image.fromarray(_small(picture, max(height, width))), (left, below))
            last = column == len(pictures) - 1
            color = _COLORS[success] if last else (220, 222, 226)
            box = (left - 2, below - 2, left + width + 1, below + height + 1)
            pen.rectangle(box, outline=color, width=2)
    buffer = BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


class _Mp4:
    def __init__(self, path: Path, rate: float) -> None:
        import av

        self._file = av.open(str(path), "w", format="mp4")
        self._track: Any = self._file.add_stream(
            "libx264", rate=Fraction(rate).limit_denominator(1000)
        )  # pyright: ignore[reportArgumentType]
        self._track.pix_fmt, self._sized = "yuv420p", False

    def add(self, picture: np.ndarray) -> None:
        import av

        if not self._sized:  # H.264 asks for even sides
            self._track.height, self._track.width = (n // 2 * 2 for n in picture.shape[:2])
            self._sized = True
        cut = picture[: self._track.height, : self._track.width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(cut), format="rgb24")
        for packet in self._track.encode(frame):
            self._file.mux(packet)

    def close(self) -> None:
        if self._sized:
            for packet in self._track.encode():
                self._file.mux(packet)
        self._file.close()


class _Gif:
    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._frames, self._count = path, [], 0
        self._every = max(1, round(rate / _GIF_RATE))
        self._pause = 1000 * self._every / rate

    def add(self, picture: np.ndarray) -> None:
        from PIL import Image

        if self._count % self._every == 0:
            shown = Image.fromarray(_small(picture, _GIF_SIDE))
            self._frames.append(shown.quantize(64, dither=Image.Dither.NONE))
        self._count += 1

    def close(self) -> None:
        first, *rest = self._frames
        first.save(self._path, format="GIF", save_all=True, append_images=rest, loop=0,
                   duration=self._pause)  # fmt: skip


def _small(picture: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    largest = max(picture.shape[:2])
    if largest <= side:
        return picture
    height, width = (max(1, round(n * side / largest)) for n in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
