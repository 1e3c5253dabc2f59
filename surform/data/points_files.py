"""Open samples on meshes from whatever files hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from surform.data.faults import is_url, parsing, refuse_unreadable
from surform.data.fields import expand_paths, is_zarr
from surform.data.mesh_files import MESHES
from surform.data.points_mesh import MeshPoints
from surform.data.points_pickle import PickledPoints
from surform.data.points_selection import PointsSelection
from surform.data.points_source import JoinedPoints, PointsSource
from surform.data.points_xarray import StoredPoints

__all__ = ["holds_points", "is_mesh", "open_points"]

_PICKLES = (".pkl", ".pickle")
_STORES = (".h5", ".hdf5", ".nc")


def open_points(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    selection: PointsSelection | None = None,
) -> PointsSource:
    """Open samples lazily: Zarr, HDF5, mesh files or folders of them, GNOT's pickles.

    Args:
        path: a path, URL, glob pattern or a list of them; several are joined.
        selection: what is read, as what; by default what the files say.

    Raises:
        FileNotFoundError, PermissionError, OSError: what cannot be read.
        ValueError: an unknown format, or files that do not fit together.
    """
    selection = selection or PointsSelection()
    paths = expand_paths(path)
    for one in paths:
        _require_known(one)
    sources: list[PointsSource] = []
    meshes = [one for one in paths if is_mesh(one)]
    if meshes:
        sources.append(MeshPoints(meshes, selection))
    for one in paths:
        with parsing(one):
            if Path(one).suffix.lower() in _PICKLES:
                sources.append(PickledPoints(one, selection))
            elif one not in meshes:
                sources.append(StoredPoints(one, selection))
    return sources[0] if len(sources) == 1 else JoinedPoints(sources)


def _require_known(path: str) -> None:
    """FileNotFoundError or ValueError for a path that is not there, or of another format."""
    if not is_url(path) and not os.path.exists(path):
        refuse_unreadable(path)
    suffix = Path(path).suffix.lower()
    if not is_zarr(path) and suffix not in (*_STORES, *MESHES, *_PICKLES):
        raise ValueError(
            f"cannot open {path}: samples on meshes are read from .zarr, "
            f"{', '.join((*_STORES, *MESHES, *_PICKLES))} and folders of mesh files"
        )


def is_mesh(path: str) -> bool:
    """Whether a path is a mesh file or a folder of them."""
    if is_url(path):
        return False
    if os.path.isdir(path):
        return any(name.endswith(MESHES) for name in os.listdir(path))
    return path.endswith(MESHES)


def holds_points(path: str) -> bool:
    """Whether a path holds samples on meshes rather than fields on grids."""
    if is_mesh(path) or path.lower().endswith(_PICKLES):
        return True
    from surform.data.fields import open_stored

    try:
        return "point" in open_stored(path).dims
    except (OSError, ValueError, ImportError):
        return False
