"""Mesh files (VTU and legacy VTK): points, cells, and arrays on both, by one name per column."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import refuse_unreadable
from surform.data.mesh_cells import cell_dimension, cell_measures, node_measures

__all__ = ["MESHES", "MeshFile", "mesh_paths", "read_mesh"]

MESHES = (".vtu", ".vtk")

Place = Literal["points", "cells"]


@dataclass(frozen=True)
class MeshFile:
    """One mesh; `mesh` is meshio's."""

    path: Path
    mesh: Any

    @property
    def points(self) -> np.ndarray:
        """`(N, 3)`, z = 0 where the file has two coordinates only."""
        found = np.asarray(self.mesh.points, np.float64)
        return np.pad(found, ((0, 0), (0, 3 - found.shape[1])))

    def positions(self, place: Place) -> np.ndarray:
        """`(n, 3)`: the points, or the centers of the cells."""
        if place == "points":
            return self.points
        blocks = [self.points[cells].mean(1) for _, cells in self.blocks()]
        return np.concatenate(blocks) if blocks else np.empty((0, 3))

    def columns(self, place: Place) -> dict[str, np.ndarray]:
        """Numbers on points or cells, `(n,)` each: vectors become `<name>_x`, `<name>_y`, ..."""
        found: dict[str, np.ndarray] = {}
        for name, array in self._arrays(place).items():
            table = array.reshape(len(array), -1).astype(np.float64, copy=False)
            for label, values in zip(_labels(name, array), table.T, strict=True):
                if label in found:
                    raise ValueError(
                        f"{self.path} gives {label!r} twice, as an array and as a component of "
                        "another: rename one"
                    )
                found[label] = values
        return found

    def vectors(self, place: Place) -> dict[str, tuple[str, ...]]:
        """The names that arrays of several components have in `columns`."""
        labels = {name: _labels(name, array) for name, array in self._arrays(place).items()}
        return {name: found for name, found in labels.items() if found != (name,)}

    def numbers(self) -> dict[str, float]:
        """Single numbers in the file's field data; VTK's own TimeValue is left out."""
        found = {}
        for name, values in self.mesh.field_data.items():
            array = np.ravel(values)[None]
            if array.size and array.dtype.kind in "fiub" and name != "TimeValue":
                found |= zip(_labels(name, array), map(float, array[0]), strict=True)
        return found

    def measures(self, place: Place) -> np.ndarray | None:
        """The measure of the mesh that each point or cell stands for; None without cells."""
        blocks = self.blocks()
        if not blocks:
            return None
        if place == "points":
            return node_measures(self.points, blocks)
        return np.concatenate([cell_measures(self.points, kind, cells) for kind, cells in blocks])

    def blocks(self) -> list[tuple[str, np.ndarray]]:
        """(kind, corners) of the cells of the highest dimension; those of boundaries are not."""
        return [(block.type, self._corners(block)) for _, block in self._main()]

    def main_blocks(self) -> set[int]:
        """Numbers of the blocks of cells of the highest dimension."""
        return {number for number, _ in self._main()}

    def boundary(self) -> list[tuple[int, str, np.ndarray]]:
        """(number, kind, corners) of the blocks of cells of lower dimensions."""
        main = self.main_blocks()
        return [
            (number, block.type, self._corners(block))
            for number, block in enumerate(self.mesh.cells)
            if number not in main and cell_dimension(block.type)
        ]

    def _corners(self, block: Any) -> np.ndarray:
        """The numbers of its cells' points; ValueError where there is no such point."""
        found, count = np.asarray(block.data), len(self.mesh.points)
        wrong = found[(found < 0) | (found >= count)]
        if len(wrong):
            raise ValueError(
                f"{self.path} has a {block.type} at point {wrong[0]}, but its points are 0 to "
                f"{count - 1}"
            )
        return found

    def _arrays(self, place: Place) -> dict[str, np.ndarray]:
        """The numeric arrays on points, or on the cells of the highest dimension."""
        if place == "points":
            arrays = self.mesh.point_data
        else:
            main = sorted(self.main_blocks())
            arrays = {
                name: np.concatenate([parts[k] for k in main])
                for name, parts in self.mesh.cell_data.items()
                if main
            }
        found = {str(name): np.asarray(values) for name, values in arrays.items()}
        return {name: values for name, values in found.items() if values.dtype.kind in "fiub"}

    def _main(self) -> list[tuple[int, Any]]:
        dimensions = []
        for block in self.mesh.cells:
            dimension = cell_dimension(block.type)
            if dimension is None:
                raise ValueError(
                    f"{self.path} has cells of the kind {block.type!r}, of which neither measure "
                    "nor dimension is known: with weights set to false, the data at its points "
                    "can be used"
                )
            dimensions.append(dimension)
        highest = max(dimensions, default=0)
        if highest == 0:  # a cloud of points
            return []
        return [(k, b) for k, b in enumerate(self.mesh.cells) if dimensions[k] == highest]


def mesh_paths(paths: Iterable[str]) -> list[Path]:
    """The mesh files of samples, folders opened; `<sample>.<input>.vtu` belong to a sample."""
    found: list[Path] = []
    for path in map(Path, paths):
        inside = path.iterdir() if path.is_dir() else [path]
        found += sorted(p for p in inside if p.suffix in MESHES and not p.name.startswith("."))
    samples = {path.with_suffix("") for path in found}
    return [path for path in found if not _belongs_to(path, samples)]


def read_mesh(path: str | os.PathLike[str]) -> MeshFile:
    """Read a mesh file.

    Raises:
        FileNotFoundError, PermissionError, OSError: missing, empty, truncated, or no mesh.
        ImportError: meshio is not installed.
    """
    file = Path(path)
    refuse_unreadable(str(file), xml=True)
    meshio = require_extra("meshio", "mesh", f"reading {file.suffix} files")
    reader = meshio.vtu if file.suffix == ".vtu" else meshio.vtk
    try:
        mesh = reader.read(str(file))
    except Exception as error:  # meshio raises whatever its parsers meet
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(f"{file} is no whole {file.suffix} file: {reason}") from error
    mesh.point_data = mesh.point_data or {}
    return MeshFile(file, mesh)


def _belongs_to(path: Path, samples: set[Path]) -> bool:
    """Whether `<sample>.<input>.vtu` is beside `<sample>.vtu`; names may hold other dots."""
    stem = path.with_suffix("")
    return stem.suffix != "" and stem.with_suffix("") in samples


def _labels(name: str, array: np.ndarray) -> tuple[str, ...]:
    """One name per component of an array `(n, ...)`."""
    count = array[0].size if len(array) else 1
    if count == 1:
        return (name,)
    return tuple(f"{name}_{'xyz'[k] if count <= 3 else k}" for k in range(count))
