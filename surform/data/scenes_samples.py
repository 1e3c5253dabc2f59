"""Labelled pixels of a scene, each with the window round it, as batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surform.data.scenes_cube import Cube, Windows
from surform.data.tensor_batch import TensorBatch

__all__ = ["SceneBatch", "SceneSamples", "cut", "turned"]


@dataclass(eq=False)
class SceneBatch(TensorBatch):
    """Windows round pixels, with the class of the pixel in the middle.

    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        patches: `(B, bands, window, window)`, as measured; NaN beyond the scene.
        targets: `(B,)` int64, numbers of classes.
        index: `(B,)` int64, the number of each pixel in its split.
    """

    patches: Tensor
    targets: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        """The number of pixels in the batch."""
        return len(self.patches)


class SceneSamples:
    """The pixels of one split as a data set of `SceneBatch`.

    A number n asks for pixel n modulo the number of pixels, in epoch n divided by it.

    Args:
        windows: those of the whole scene, or None: read from the cube when asked for.
        pixels: (n, 2) rows and columns.
        labels: (rows, columns), classes from 0.
        turns: seed of the turns and mirror images of the windows, a function of it, the epoch and
            the pixel; None: windows as they lie.
    """

    def __init__(
        self,
        cube: Cube,
        windows: Windows | None,
        pixels: np.ndarray,
        labels: np.ndarray,
        bands: Sequence[int],
        window: int,
        turns: int | None = None,
    ) -> None:
        self.cube, self.windows, self.pixels = cube, windows, pixels
        self.targets = labels[pixels[:, 0], pixels[:, 1]]
        self.bands, self.window, self.turns = bands, window, turns

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, asked: Sequence[int]) -> SceneBatch:
        epochs, index = np.divmod(np.asarray(asked, dtype=np.int64), len(self))
        places = self.pixels[index]
        if self.windows is not None:
            patches = self.windows.at(places)
        else:
            patches = cut(self.cube, places, self.bands, self.window)
        if self.turns is not None:
            for patch, epoch, number in zip(patches, epochs, index, strict=True):
                way = np.random.default_rng([self.turns, epoch, number]).integers(8)
                patch[:] = turned(patch, int(way))
        return SceneBatch(
            patches=torch.from_numpy(patches),
            targets=torch.from_numpy(self.targets[index]),
            index=torch.from_numpy(index),
        )

    def labels(self, index: Tensor) -> dict[str, Any]:
        """Where each pixel lies."""
        rows, columns = self.pixels[index.numpy()].T
        return {"row": rows, "column": columns}


def turned(patch: np.ndarray, way: int) -> np.ndarray:
    """(..., side, side) one of eight ways: by quarters of a turn, from 4 on mirrored, too."""
    found = np.rot90(patch, way % 4, axes=(-2, -1))
    return (found.swapaxes(-2, -1) if way >= 4 else found).copy()


def cut(cube: Cube, pixels: np.ndarray, bands: Sequence[int], window: int) -> np.ndarray:
    """(n, bands, window, window) round pixels, each read by itself."""
    found = []
    for row, column in pixels.tolist():
        own = cube.windows((row, row + 1), (column, column + 1), bands, window)
        found.append(own.at(np.array([[row, column]])))
    return np.concatenate(found)
