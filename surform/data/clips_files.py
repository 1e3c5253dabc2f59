"""Sound files as waveforms of one channel and one rate; what is odd about them is refused."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["SOUNDS", "Header", "Reading", "read_header", "sound_files"]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus")
STEREO = ("refuse", "mean", "left")
_SYSTEM = ("Thumbs.db", "desktop.ini", "__MACOSX")


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

    def samples(self, path: Path) -> int:
        """How many samples the waveform of a file will have; errors as below, as far as known."""
        header = read_header(path)
        self._check(path, header)
        return math.ceil(header.samples * self.rate / header.rate)

    def waveform(self, path: Path) -> np.ndarray:
        """(n,) float32, -1 to 1.

        Raises:
            ValueError: no readable sound, none at all, another rate, several channels, not finite.
        """
        rate, values = _read(path)
        self._check(path, Header(rate, values.shape[1], len(values)))
        if not np.isfinite(values).all():
            at = int(np.argmax(~np.isfinite(values).all(1)))
            raise ValueError(f"{path} is not finite at {at / rate:.3f} s: it holds NaN or infinity")
        one = values[:, 0] if self.stereo == "left" else values.mean(1)
        return one if rate == self.rate else _resampled(one, rate, self.rate)

    def _check(self, path: Path, header: Header) -> None:
        if header.samples == 0:
            raise ValueError(f"{path} holds no sound: it has 0 samples")
        if header.channels > 1 and self.stereo == "refuse":
            raise ValueError(
                f"{path} has {header.channels} channels, but one is wanted: set data.stereo to "
                "mean or left"
            )
        if header.rate != self.rate and not self.resample:
            raise ValueError(
                f"{path} has {header.rate} Hz, but {self.rate} are wanted: set data.resample to "
                f"true, or data.rate to {header.rate}"
            )


def read_header(path: Path) -> Header:
    """What a file says of itself; ValueError for what is no readable sound."""
    _refuse_no_file(path)
    if path.suffix.lower() == ".wav":
        rate, values = _read_wav(path, lazily=True)
        return Header(rate, 1 if values.ndim == 1 else values.shape[1], len(values))
    library = _soundfile(path)
    try:
        found = library.info(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path} is no readable sound: {first_line(error)}") from error
    return Header(int(found.samplerate), int(found.channels), int(found.frames))


def sound_files(folder: Path) -> list[Path]:
    """All sound files below a folder, sorted; hidden files and folders are passed over."""
    found: list[Path] = []
    for place, inner, names in os.walk(folder):
        inner[:] = [n for n in inner if not n.startswith(".") and n not in _SYSTEM]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in SOUNDS)


def _read(path: Path) -> tuple[int, np.ndarray]:
    """Rate and (n, channels) float32."""
    _refuse_no_file(path)
    if path.suffix.lower() == ".wav":
        rate, values = _read_wav(path, lazily=False)
        values = values[:, None] if values.ndim == 1 else values
        return rate, _scaled(values)
    try:
        values, rate = _soundfile(path).read(str(path), dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise ValueError(f"{path} is no readable sound: {first_line(error)}") from error
    return int(rate), values


def _read_wav(path: Path, lazily: bool) -> tuple[int, Any]:
    wavfile = require_extra("scipy.io.wavfile", "audio", f"reading {path}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # tags of programs
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            try:
                return wavfile.read(path, mmap=lazily)
            except ValueError:
                if not lazily:
                    raise
                return wavfile.read(path)  # 24 bits cannot be mapped
    except Exception as error:  # also struct.error, of a header that ends early
        raise ValueError(f"{path} is damaged or no .wav file: {first_line(error)}") from error


def _scaled(values: np.ndarray) -> np.ndarray:
    """Whole numbers as -1 to 1; 8 bits have their zero at 128."""
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def _resampled(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    signal = require_extra("scipy.signal", "audio", "changing the rate of sounds")
    shared = math.gcd(rate, wanted)
    made = signal.resample_poly(waveform.astype(np.float64), wanted // shared, rate // shared)
    return made.astype(np.float32)


def _soundfile(path: Path) -> Any:
    return require_extra("soundfile", "audio", f"reading {path}")


def _refuse_no_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no sound at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
