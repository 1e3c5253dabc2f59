"""Open demonstrations from whatever files hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from surform.data.demonstrations_hdf5 import (
    holds_minari,
    holds_robomimic,
    open_minari,
    open_robomimic,
)
from surform.data.demonstrations_lerobot import LeRobotDemonstrations, holds_lerobot
from surform.data.demonstrations_source import Demonstrations, JoinedDemonstrations
from surform.data.faults import refuse_unreadable
from surform.data.fields import expand_paths
from surform.data.hdf5 import OpenHDF5

__all__ = ["holds_demonstrations", "open_demonstrations"]

_HDF5 = (".h5", ".hdf5")


def open_demonstrations(path: Any) -> Demonstrations:
    """Open demonstrations lazily; several files are joined in their order.

    Args:
        path: an HDF5 file in robomimic's or Minari's layout, the folder of a Minari or LeRobot v3
            data set, a glob pattern, or a list of these.

    Raises:
        FileNotFoundError, OSError, ValueError: what cannot be read, in one sentence.
    """
    sources = [_open(one) for one in expand_paths(path)]
    return sources[0] if len(sources) == 1 else JoinedDemonstrations(sources)


def holds_demonstrations(path: str) -> bool:
    """Whether a path holds demonstrations."""
    if holds_lerobot(path):
        return True
    file = _hdf5(path)
    if file is None or not h5py.is_hdf5(file):
        return False
    try:
        with h5py.File(file, "r") as opened:
            return holds_robomimic(opened) or holds_minari(opened)
    except OSError:
        return False


def _open(path: str) -> Demonstrations:
    refuse_unreadable(path)
    if holds_lerobot(path):
        return LeRobotDemonstrations(path)
    file = _hdf5(path)
    if file is None:
        raise ValueError(
            f"{path} is none of what holds demonstrations: HDF5 in robomimic's or Minari's layout "
            "(.h5, .hdf5), or the folder of a LeRobot v3 data set"
        )
    return open_minari(file) if holds_minari(OpenHDF5(file).file) else open_robomimic(file)


def _hdf5(path: str) -> str | None:
    """The HDF5 file that a path names; Minari keeps it in a folder."""
    if path.lower().endswith(_HDF5):
        return path
    inside = [Path(path, *parts) for parts in (("main_data.hdf5",), ("data", "main_data.hdf5"))]
    return next((str(file) for file in inside if file.is_file()), None)
