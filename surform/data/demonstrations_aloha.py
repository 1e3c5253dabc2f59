"""Demonstrations in ALOHA's layout: an HDF5 file for each episode.

Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", 2023 (arXiv
2304.13705).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from surform.data.demonstrations_hdf5 import HDF5Demonstrations
from surform.data.demonstrations_hdf5_reader import HDF5Reader, arrays_below, text_of
from surform.data.demonstrations_source import About, Episode
from surform.data.hdf5 import OpenHDF5
from surform.data.open_files import OpenFiles

__all__ = ["aloha_files", "holds_aloha", "open_aloha"]

_IMAGES = "images/"
_FPS = 50.0  # of the robot, and of its simulator


def holds_aloha(file: Any) -> bool:
    """Whether an open file has ALOHA's layout."""
    seen = file.get("observations")
    return isinstance(seen, h5py.Group) and ("action" in file or "qpos" in seen)


def aloha_files(folder: str) -> list[str]:
    """The episodes of a folder, in the order of their numbers; [] where there are none."""
    found = [p for end in ("hdf5", "h5") for p in Path(folder).glob(f"episode_*.{end}")]
    return [str(path) for path in sorted(found, key=_number)]


def open_aloha(path: str) -> HDF5Demonstrations:
    """`observations/{qpos, qvel, ...}`, `observations/images/<camera>`, `action`: one episode.

    Cameras are called by their names alone. Images are arrays, or JPEG padded to one length. The
    file's attributes `task` and `instruction` are read where there are any.

    Raises:
        ValueError: no action, or arrays of another length.
    """
    files = OpenFiles(OpenHDF5, 1)
    file: Any = files[path].file  # type: ignore[attr-defined]
    name, reader = Path(path).stem, HDF5Reader(path)
    steps = reader.steps(name, file, "action")
    arrays = {
        key.removeprefix(_IMAGES): place
        for key, place in arrays_below(file["observations"], "observations")
    }
    places = reader.columns(name, file, arrays, steps) | {"action": "action"}
    task, told = (text_of(file.attrs.get(key, "")) for key in ("task", "instruction"))
    about = About(reader.known, reader.actions, fps=_FPS, left_out=reader.left_out)
    return HDF5Demonstrations(path, [Episode(name, steps, task, told)], about, [places], files)


def _number(path: Path) -> tuple[int, str]:
    digits = path.stem.removeprefix("episode_")
    return (int(digits) if digits.isdigit() else -1, path.name)
