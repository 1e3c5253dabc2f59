"""Open images, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.faults import refuse_unreadable
from surform.data.images_arrays import (
    DIGITS,
    array_images,
    open_digits,
    open_npz,
    open_xarray,
)
from surform.data.images_files import IMAGES
from surform.data.images_folder import image_files, open_folder, open_unlabelled
from surform.data.images_source import ImageSource
from surform.data.solvers.progress import progress_bar

__all__ = ["holds_images", "open_images", "open_new_images"]

_LABELLED = (".nc", ".nc4", ".h5", ".hdf5", ".zarr")


def open_images(
    source: Any,
    *,
    channels: int = 3,
    classes: Sequence[str] | None = None,
    layout: str = "auto",
) -> ImageSource:
    """Images with labels.

    Args:
        source: a folder with a folder for each class (perhaps below train, val and test), a .npz,
            a .zarr, .nc or .h5 with `images` and `labels`, "digits"; in Python also an
            xarray.Dataset or the pair of arrays.
        channels: of image files: 3 (colors) or 1 (grey).
        classes: names of the classes, in the order of their numbers.
        layout: where arrays have their channels: "hwc", "chw" or "auto".

    Raises:
        FileNotFoundError, ValueError: what is missing or wrong, and where.
    """
    if isinstance(source, tuple):
        images, labels = source
        return array_images(images, labels, "the arrays", classes=classes, layout=layout)
    if not isinstance(source, str | Path):
        return open_xarray(source, "the dataset")
    if source == DIGITS:
        return open_digits()
    path = Path(source)
    refuse_unreadable(str(source))
    if path.suffix == ".npz":
        return open_npz(path, layout)
    if path.suffix in _LABELLED:
        return open_xarray(_dataset(path), str(path))
    if not path.is_dir():
        raise ValueError(
            f"{path} is neither a folder of images nor one of .npz, {', '.join(_LABELLED)}"
        )
    with progress_bar(f"looking through {path}") as progress:
        return open_folder(path, channels, classes, progress)


def open_new_images(source: Any, channels: int, layout: str = "auto") -> ImageSource:
    """Images without labels, to be classified: also one file, or a folder of files at any depth."""
    if isinstance(source, np.ndarray):
        return array_images(source, None, "the array", layout=layout)
    if not isinstance(source, str | Path):
        return open_xarray(source, "the dataset", labelled=False)
    if source == DIGITS:
        return open_digits()
    path = Path(source)
    refuse_unreadable(str(source))
    if path.suffix == ".npz":
        return open_npz(path, layout, labelled=False)
    if path.suffix in _LABELLED:
        return open_xarray(_dataset(path), str(path), labelled=False)
    if channels not in (1, 3):
        raise ValueError(
            f"image files have 1 or 3 channels, but the model takes {channels}: give arrays"
        )
    return open_unlabelled(path, channels)


def holds_images(path: str) -> bool:
    """Whether a path is an image, a .npz or a folder with images."""
    where = Path(path)
    if where.is_file():
        return where.suffix.lower() in (*IMAGES, ".npz")
    return where.is_dir() and where.suffix != ".zarr" and bool(image_files(where)[:1])


def _dataset(path: Path) -> Any:
    from surform.data.fields import open_stored

    return open_stored(str(path))
