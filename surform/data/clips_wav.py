"""Waveforms in .wav files as arrays on the disk: an hour is opened like a second."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["map_wav", "scaled"]

_HALF = 1 << 23  # what 24 bits count as 1
_PCM = (0x0001, 0xFFFE)  # whole numbers, in the first and in the extensible format


def map_wav(path: Path) -> tuple[int, Any]:
    """Rate [Hz] and samples (n, channels) as they are stored, read where they are looked at.

    Samples of 24 bits are (n, channels, 3) bytes. SciPy reads all other kinds of PCM and floats.

    Raises:
        ValueError: no .wav file, another coding, or one that ends early.
    """
    found = _map_24_bits(path)
    if found is None:
        rate, values = _read(path)
        found = rate, values[:, None] if values.ndim == 1 else values
    return found


def scaled(values: np.ndarray) -> np.ndarray:
    """(n, channels) float32, -1 to 1, of what `map_wav` gives; 8 bits have their zero at 128."""
    if values.ndim == 3:
        wide = np.zeros((*values.shape[:2], 4), np.uint8)
        wide[..., 1:] = values
        return (wide.view("<i4")[..., 0] / (256.0 * _HALF)).astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def _read(path: Path) -> tuple[int, Any]:
    wavfile = require_extra("scipy.io.wavfile", "audio", f"reading {path}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # tags of programs
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            try:
                return wavfile.read(path, mmap=True)
            except ValueError:
                return wavfile.read(path)  # without samples nothing can be mapped
    except Exception as error:  # also struct.error, of a header that ends early
        raise ValueError(f"{path} is damaged or no .wav file: {first_line(error)}") from error


def _map_24_bits(path: Path) -> tuple[int, np.ndarray] | None:
    """Of a whole file with samples of three bytes, which SciPy does not map; None of others."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return None
        channels = rate = 0
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            begin = file.tell()
            if name == b"fmt ":
                fields = file.read(16)
                if len(fields) < 16:
                    return None
                coding, channels, rate, _, frame, _ = struct.unpack("<HHIIHH", fields)
                if coding not in _PCM or not channels or frame != 3 * channels:
                    return None
            elif name == b"data":
                count = length // (3 * channels) if channels else 0
                if not count or begin + length > size:
                    return None  # SciPy says what is wrong
                shape = (count, channels, 3)
                return rate, np.memmap(path, np.uint8, "r", offset=begin, shape=shape)
            file.seek(begin + length + length % 2)
    return None
