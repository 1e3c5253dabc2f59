"""Sound files as waveforms of one channel and one rate; what is odd about them is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.clips_rate import at_rate, samples_at
from surform.data.clips_wav import map_wav, scaled
from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["SOUNDS", "Header", "Reading", "read_header", "sound_files"]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus")
STEREO = ("refuse", "mean", "left")
_SYSTEM = ("Thumbs.db", "desktop.ini", "__MACOSX")
# Samples: more than frames of .mp3 reach back (511 bytes), and than one page of Vorbis holds (255
# packets of 4096 at most).
_MP3_REACH, _OGG_PAGE = 1 << 15, 1 << 20


@dataclass(frozen=True)
class Header:
    """What a file says of itself: samples per second [Hz], channels, samples of each."""

    rate: int
    channels: int
    samples: int


@dataclass(frozen=True)
class Reading:
    """How files become waveforms.

    Args:
        rate: samples per second that are wanted [Hz].
        stereo: what is done with several channels: "refuse", "mean" or "left" (the first one).
        resample: change other rates, instead of refusing them.
    """

    rate: int
    stereo: str = "refuse"
    resample: bool = False

    def __post_init__(self) -> None:
        if self.stereo not in STEREO:
            raise ValueError(f"stereo={self.stereo!r}: choose {', '.join(STEREO)}")
        if not isinstance(self.resample, bool):
            raise ValueError(f"resample={self.resample!r}: choose true or false")

    def samples(self, path: Path) -> int:
        """How many samples the waveform of a file will have; errors as below, as far as known."""
        header = read_header(path)
        self._check(path, header)
        return samples_at(header.samples, header.rate, self.rate)

    def waveform(self, path: Path, begin: int = 0, stop: int | None = None) -> np.ndarray:
        """(n,) float32, -1 to 1: samples begin to stop, counted at `rate`; None: to the end.

        Of long files little is read beside them.

        Raises:
            ValueError: no readable sound, none at all, another rate, several channels, not finite.
        """
        header, read = _opened(path)
        self._check(path, header)

        def mono(first: int, last: int) -> np.ndarray:
            values = read(first, last)
            if not np.isfinite(values).all():
                at = (first + int(np.argmax(~np.isfinite(values).all(1)))) / header.rate
                raise ValueError(f"{path} is not finite at {at:.3f} s: it holds NaN or infinity")
            return values[:, 0] if self.stereo == "left" else values.mean(1)

        return at_rate(mono, header.samples, header.rate, self.rate, begin, stop)

    def _check(self, path: Path, header: Header) -> None:
        if header.samples == 0:
            raise ValueError(f"{path} holds no sound: it has 0 samples")
        if header.rate < 1:
            raise ValueError(f"{path} is damaged: it has {header.rate} Hz")
        if header.channels > 1 and self.stereo == "refuse":
            raise ValueError(
                f"{path} has {header.channels} channels, but one is wanted: set data.stereo to "
                "mean or left"
            )
        if header.rate != self.rate and not self.resample:
            raise ValueError(
                f"{path} has {header.rate} Hz, but {self.rate} are wanted: set data.resample to "
                f"true, or train with data.rate {header.rate}"
            )


def read_header(path: Path) -> Header:
    """What a file says of itself; ValueError for what is no readable sound."""
    return _opened(path)[0]


def sound_files(folder: Path) -> list[Path]:
    """All sound files below a folder, sorted; hidden files and folders are passed over."""
    found: list[Path] = []
    for place, inner, names in os.walk(folder):
        inner[:] = [n for n in inner if not n.startswith(".") and n not in _SYSTEM]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SOUNDS)


def _opened(path: Path) -> tuple[Header, Callable[[int, int], np.ndarray]]:
    """What a file says of itself, and what reads samples begin to stop: (n, channels) float32."""
    _refuse_no_file(path)
    if path.suffix.lower() == ".wav":
        rate, values = map_wav(path)
        header = Header(rate, values.shape[1], len(values))
        return header, lambda begin, stop: scaled(np.asarray(values[begin:stop]))
    library = _soundfile(path)
    with _readable(path):
        found = library.info(str(path))
    header = Header(int(found.samplerate), int(found.channels), int(found.frames))

    def read(begin: int, stop: int) -> np.ndarray:
        first = _safe_start(path, begin, header.samples)
        with _readable(path):
            values, _ = library.read(
                str(path), start=first, stop=stop, dtype="float32", always_2d=True
            )
        if len(values) < stop - first:
            raise ValueError(
                f"{path} is damaged: it has {first + len(values):,} of {header.samples:,} samples"
            )
        return values[begin - first :]

    return header, read


def _safe_start(path: Path, begin: int, samples: int) -> int:
    """Where to start, so that sample `begin` is decoded as in the whole file.

    After a jump the first frames of an .mp3 lack the bits that earlier ones hold for them; and into
    the last page of an .ogg libsndfile jumps up to one block too far.
    """
    kind = path.suffix.lower()
    if kind == ".mp3":
        return max(0, begin - _MP3_REACH)
    if kind == ".ogg":
        return min(begin, max(0, samples - _OGG_PAGE))
    return begin


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ValueError(f"{path} is no readable sound: {first_line(error)}") from error


def _soundfile(path: Path) -> Any:
    return require_extra("soundfile", "audio", f"reading {path}")


def _refuse_no_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no sound at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
