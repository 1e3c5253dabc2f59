"""Open demonstrations from whatever files hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from surform.data.demonstrations_aloha import aloha_files, holds_aloha, open_aloha
from surform.data.demonstrations_hdf5 import (
    holds_minari,
    holds_robomimic,
    open_minari,
    open_robomimic,
)
from surform.data.demonstrations_lerobot import LeRobotDemonstrations, holds_lerobot
from surform.data.demonstrations_source import Demonstrations, JoinedDemonstrations
from surform.data.faults import parsing, refuse_unreadable
from surform.data.fields import expand_paths
from surform.data.hdf5 import OpenHDF5
from surform.data.heaps import require_sound_heaps

__all__ = ["holds_demonstrations", "open_demonstrations"]

_HDF5 = (".h5", ".hdf5")


def open_demonstrations(path: Any) -> Demonstrations:
    """Open demonstrations lazily; several files are joined in their order.

    Args:
        path: an HDF5 file in the layout of robomimic, LIBERO, Minari or ALOHA (an episode each),
            the folder of a Minari, ALOHA or LeRobot v3 data set, a glob pattern, or a list.

    Raises:
        FileNotFoundError, OSError, ValueError: what cannot be read, in one sentence.
    """
    sources: list[Demonstrations] = []
    for file in (file for one in expand_paths(path) for file in aloha_files(one) or [one]):
        with parsing(file):
            sources.append(_open(file))
    return sources[0] if len(sources) == 1 else JoinedDemonstrations(sources)


def holds_demonstrations(path: str) -> bool:
    """Whether a path holds demonstrations."""
    if holds_lerobot(path) or aloha_files(path):
        return True
    file = _hdf5(path)
    if file is None or not h5py.is_hdf5(file):
        return False
    try:
        with h5py.File(file, "r") as opened:
            return any(holds(opened) for holds in (holds_robomimic, holds_minari, holds_aloha))
    except (OSError, RuntimeError, KeyError):  # damaged: whoever opens it says so
        return False


def _open(path: str) -> Demonstrations:
    refuse_unreadable(path)
    if holds_lerobot(path):
        return LeRobotDemonstrations(path)
    file = _hdf5(path)
    if file is None:
        raise ValueError(
            f"{path} is none of what holds demonstrations: HDF5 in the layout of robomimic, "
            "LIBERO, Minari or ALOHA (.h5, .hdf5), or the folder of a LeRobot v3 data set"
        )
    opened = OpenHDF5(file).file
    require_sound_heaps(file)
    if holds_minari(opened):
        return open_minari(file)
    return open_aloha(file) if holds_aloha(opened) else open_robomimic(file)


def _hdf5(path: str) -> str | None:
    """The HDF5 file that a path names; Minari keeps it in a folder."""
    if path.lower().endswith(_HDF5):
        return path
    inside = [Path(path, *parts) for parts in (("main_data.hdf5",), ("data", "main_data.hdf5"))]
    return next((str(file) for file in inside if file.is_file()), None)
