"""Write what was computed on a mesh beside it: the same mesh, in a file of the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from surform.data.extras import require_extra
from surform.data.mesh_files import MeshFile, Place

__all__ = ["write_mesh"]


def write_mesh(
    path: Path,
    suffix: str,
    source: MeshFile,
    place: Place,
    names: Sequence[str],
    values: np.ndarray,
) -> None:
    """Write a mesh with columns of numbers on its points or cells.

    The arrays of the source are kept, but for those that have the name of a column. Columns
    `<name>_x`, `<name>_y`, `<name>_z` become one vector, as VTK has them; cells of boundaries get
    no number (NaN).

    Args:
        path: where it is written, under any name.
        suffix: ".vtu" or ".vtk".
        source: the mesh.
        place: where the columns lie.
        names: of the columns.
        values: `(n, columns)`.
    """
    meshio = require_extra("meshio", "mesh", f"writing {suffix} files")
    arrays = _arrays(names, values)
    replaced = {*names, *arrays}
    mesh = source.mesh
    point_data = {n: np.asarray(v) for n, v in mesh.point_data.items() if n not in replaced}
    cell_data = {n: list(v) for n, v in mesh.cell_data.items() if n not in replaced}
    if place == "points":
        point_data |= arrays
    else:
        cell_data |= {name: _on_blocks(source, array) for name, array in arrays.items()}
    cells = [(block.type, block.data) for block in mesh.cells]
    new = meshio.Mesh(source.points, cells, point_data=point_data, cell_data=cell_data)
    if suffix == ".vtk":
        meshio.vtk.write(str(path), new)
        return
    meshio.vtu.write(str(path), new)
    numbers = {name: np.ravel(v) for name, v in mesh.field_data.items()}
    if numbers:
        _add_field_data(path, numbers)


def _arrays(names: Sequence[str], values: np.ndarray) -> dict[str, np.ndarray]:
    """Columns by name, those of one vector together as `(n, 3)`."""
    columns = dict(zip(names, values.T, strict=True))
    found: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        base, _, axis = name.rpartition("_")
        parts = [columns.get(f"{base}_{a}") for a in "xyz"]
        if base and axis in tuple("xyz") and sum(part is not None for part in parts) > 1:
            zero = np.zeros_like(column)
            vector = [zero if part is None else part for part in parts]
            found[base] = np.stack(vector, axis=-1)
        else:
            found[name] = np.ascontiguousarray(column)
    return found


def _on_blocks(source: MeshFile, array: np.ndarray) -> list[np.ndarray]:
    """Numbers of the cells of the highest dimension, on all blocks of cells of the file."""
    found, start = [], 0
    for number, block in enumerate(source.mesh.cells):
        count = len(block.data)
        if number in source.main_blocks():
            found.append(array[start : start + count])
            start += count
        else:
            found.append(np.full((count, *array.shape[1:]), np.nan, array.dtype))
    return found


def _add_field_data(path: Path, numbers: Mapping[str, np.ndarray]) -> None:
    """The numbers of the whole mesh, which meshio reads but does not write."""
    tree = ElementTree.parse(path)
    grid: Any = tree.getroot().find("UnstructuredGrid")
    fields = ElementTree.Element("FieldData")
    for name, values in numbers.items():
        whole = values.dtype.kind in "iub"
        attributes = {
            "type": "Int64" if whole else "Float64",
            "Name": name,
            "NumberOfTuples": str(len(values)),
            "format": "ascii",
        }
        array = ElementTree.SubElement(fields, "DataArray", attributes)
        array.text = " ".join(str(int(v)) if whole else repr(float(v)) for v in values)
    grid.insert(0, fields)
    tree.write(path, xml_declaration=True, encoding="utf-8")
