"""The images that an annotation file names: where they lie, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.images_files import read_header
from surform.data.pose_records import ImageList

__all__ = ["list_images"]

Size = tuple[Any, Any]


def list_images(
    names: Sequence[str],
    ids: Sequence[int],
    sizes: Sequence[Size | None],
    images: str | Path | None,
    path: Path,
) -> ImageList:
    """Look whether every image is there.

    Args:
        names: of the files; where there is none of that name, backslashes separate folders.
        ids: their numbers.
        sizes: height and width as the file says; None looks into the image.
        images: their folder; None looks beside the file, first in its folder "images".
        path: of the annotation file.

    Raises:
        FileNotFoundError, ValueError: which image is missing, damaged or of no size.
    """
    root = _root(names[0], images, path)
    kept, found = [], np.zeros((len(names), 2), np.int64)
    for place, (name, number, size) in enumerate(zip(names, ids, sizes, strict=True)):
        kept.append(_name(root, name))
        file = root / kept[-1]
        if not file.is_file():
            raise FileNotFoundError(f"there is no image {file} (image {number} of {path})")
        given = read_header(file).size if size is None else size
        if not all(_is_length(side) for side in given):
            raise ValueError(f"{path}: image {number} has a size of {list(given)} pixels")
        found[place] = given
    return ImageList(root, tuple(kept), np.array(ids, np.int64), found)


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and 1 <= value < 2**31 and value == int(value)


def _root(first: str, images: str | Path | None, path: Path) -> Path:
    if images is not None:
        root = Path(images)
        if not root.is_dir():
            raise FileNotFoundError(f"there is no folder of images {root}")
        return root
    tried = (path.parent / "images", path.parent)
    for root in tried:
        if (root / _name(root, first)).is_file():
            return root
    raise FileNotFoundError(
        f"{first}, the first image of {path}, lies neither in {tried[0]} nor beside the file: "
        "set images to the folder"
    )


def _name(root: Path, name: str) -> str:
    """The name as this machine writes it: files made on Windows separate folders by backslashes."""
    if "\\" not in name or (root / name).is_file():
        return name
    return name.replace("\\", "/")
