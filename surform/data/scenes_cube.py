"""A hyperspectral cube, read block by block, and the windows round its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from surform.data.faults import parsing

__all__ = ["Cube", "Windows", "margins"]

# (rows, columns) -> (rows, columns, bands), numbers as they are stored
ReadBlock = Callable[[slice, slice], np.ndarray]


@dataclass(frozen=True)
class Cube:
    """Spectra on a grid of pixels, wherever they are stored.

    Args:
        name: for messages.
        shape: rows, columns, bands.
        block: reads rows and columns.
        wavelengths: of the bands [nm], where they are known.
        bad: numbers of the bands that the file itself says are bad, from 0.
        no_data: what stands where nothing was measured, beside NaN.
    """

    name: str
    shape: tuple[int, int, int]
    block: ReadBlock = field(repr=False)
    wavelengths: tuple[float, ...] = field(default=(), repr=False)
    bad: tuple[int, ...] = ()
    no_data: float | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ValueError(
                f"{self.name} has {_times(self.shape)} rows, columns, bands: it is empty"
            )
        if self.wavelengths and len(self.wavelengths) != self.shape[2]:
            raise ValueError(
                f"{self.name} has {self.shape[2]} bands, but {len(self.wavelengths)} wavelengths"
            )

    def read(self, rows: slice, columns: slice, bands: Sequence[int]) -> np.ndarray:
        """(rows, columns, bands) in float32; NaN where nothing was measured.

        Raises:
            ValueError: infinite numbers.
        """
        with parsing(self.name):
            stored = np.asarray(self.block(rows, columns))[..., list(bands)]
        values = stored.astype(np.float32)
        if self.no_data is not None:
            values[stored == self.no_data] = np.nan
        wild = np.argwhere(np.isinf(values))
        if len(wild):
            row, column, band = wild[0]
            raise ValueError(
                f"{self.name} has an infinite number at row {row + (rows.start or 0)}, column "
                f"{column + (columns.start or 0)}, band {bands[band]}"
            )
        return values

    def windows(
        self, rows: tuple[int, int], columns: tuple[int, int], bands: Sequence[int], window: int
    ) -> Windows:
        """The windows round pixels of these rows and columns (first, last + 1)."""
        before, after = margins(window)
        spans = [
            (max(0, first - before), min(size, last + after))
            for (first, last), size in zip((rows, columns), self.shape, strict=False)
        ]
        found = self.read(slice(*spans[0]), slice(*spans[1]), bands)
        missing = [
            (span[0] - (first - before), last + after - span[1])
            for (first, last), span in zip((rows, columns), spans, strict=True)
        ]
        padded = np.pad(found, (*missing, (0, 0)), constant_values=np.nan)
        return Windows(padded, (rows[0], columns[0]), window)

    def fingerprint(self) -> str:
        """sha256 of shape, wavelengths and the first, middle and last row, hexadecimal."""
        digest = hashlib.sha256(f"{self.shape} {self.wavelengths}".encode())
        for row in sorted({0, self.shape[0] // 2, self.shape[0] - 1}):
            values = self.read(slice(row, row + 1), slice(0, self.shape[1]), range(self.shape[2]))
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


class Windows:
    """Square windows of one side round the pixels of a block; NaN beyond the scene.

    Args:
        values: the block with its margins, (rows, columns, bands).
        origin: row and column in the scene of the block's first pixel.
    """

    def __init__(self, values: np.ndarray, origin: tuple[int, int], window: int) -> None:
        self.origin = origin
        self._views = sliding_window_view(values, (window, window), axis=(0, 1))  # type: ignore[call-overload]

    def at(self, pixels: np.ndarray) -> np.ndarray:
        """(n, 2) rows and columns in the scene -> (n, bands, window, window)."""
        rows, columns = (pixels - self.origin).T
        return np.ascontiguousarray(self._views[rows, columns])


def margins(window: int) -> tuple[int, int]:
    """Pixels before and after the one a window is for: of an even window one more before."""
    return window // 2, window - 1 - window // 2


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
