"""What stands in a folder: files by their names and contents, and checkpoints by their values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "array_difference",
    "checkpoint_differences",
    "left_over",
    "tree",
    "unreadable_checkpoint",
]

Tree = dict[str, str]  # path below the folder -> digest of the content


def tree(path: Path) -> Tree:
    """The files of a folder, or a file, under the name "."; {} where there is nothing."""
    if path.is_file():
        return {".": _digest(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): _digest(file) for file in files}


def left_over(folder: Path, whole: Path) -> list[str]:
    """Names in a folder that an undisturbed run does not leave: locks, partial files."""
    found, usual = (
        {path.relative_to(place).as_posix() for path in place.rglob("*")}
        for place in (folder, whole)
    )
    top = sorted(found - usual)
    return [name for name in top if not any(name.startswith(f"{other}/") for other in top)]


def checkpoint_differences(path: Path, whole: Path) -> list[str]:
    """Names of the values of a checkpoint that are not bit for bit those of another.

    Times are left out: they differ between any two runs. Called in a process of its own.
    """
    from surform.training.checkpoint import read_checkpoint

    found = _differences(read_checkpoint(path), read_checkpoint(whole))
    return [name for name in found if "seconds" not in name]


def array_difference(path: Path, whole: Path) -> str:
    """The first array of an HDF5 file that is not byte for byte that of another; "" for none.

    How HDF5 lays the same arrays out in a file depends on the file system. Called in a process of
    its own.
    """
    import h5py
    import numpy as np

    with h5py.File(path) as one, h5py.File(whole) as other:
        if set(one) != set(other):
            return f"arrays {', '.join(one)} instead of {', '.join(other)}"
        for name in map(str, one):
            a, b = np.asarray(one[name]), np.asarray(other[name])
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                return name
    return ""


def unreadable_checkpoint(paths: Sequence[Path]) -> str:
    """The error of the first checkpoint that cannot be read; called in a process of its own."""
    from surform.training.checkpoint import read_checkpoint

    for path in paths:
        try:
            read_checkpoint(path)
        except (ValueError, OSError) as error:
            return str(error)
    return ""


def _differences(one: Any, other: Any, where: str = "") -> list[str]:
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        equal = one.dtype == other.dtype and torch.equal(one, other)
        return [] if equal else [where]
    if isinstance(one, dict) and isinstance(other, dict):
        names = dict.fromkeys([*one, *other])
        return [
            name for n in names for name in _differences(one.get(n), other.get(n), f"{where}/{n}")
        ]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return [where]
        pairs = enumerate(zip(one, other, strict=True))
        return [name for n, (a, b) in pairs for name in _differences(a, b, f"{where}/{n}")]
    return [] if type(one) is type(other) and one == other else [where]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
