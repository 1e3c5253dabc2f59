"""What goes with a mesh file: numbers of the sample, and input functions on points of their own.

Beside `case.vtu` lie `parameters.csv` (a row per sample, named in the column "sample") and, for an
input function "inlet", `case.inlet.csv` (a row per point, columns by name) or `case.inlet.vtu`.
Boundaries that an array of the mesh marks with 1, 2, ... are input functions as well.
"""

from __future__ import annotations

import csv
import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surform.data.mesh_cells import node_measures
from surform.data.mesh_files import MESHES, MeshFile, read_mesh

__all__ = ["InputFile", "ParameterTable", "input_files", "marked", "read_input"]

AXES = "xyz"
_SIDE = (".csv", *MESHES)


@dataclass(frozen=True)
class InputFile:
    """An input function: `(M,)` columns by name, coordinates among them, and weights if known."""

    columns: dict[str, np.ndarray]
    weights: np.ndarray | None = None


class ParameterTable:
    """The `parameters.csv` of a folder: numbers by sample.

    Raises:
        ValueError: no column "sample", a sample twice, text where a number should be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header, rows = _table(path)
        if "sample" not in header:
            raise ValueError(
                f"{path} needs a column 'sample' with the names of the mesh files; it has "
                f"{', '.join(header)}"
            )
        self.names = tuple(name for name in header if name != "sample")
        self.rows: dict[str, dict[str, float]] = {}
        for line, row in rows:
            entry = dict(zip(header, row, strict=True))
            name = _stem(entry.pop("sample"))
            if name in self.rows:
                raise ValueError(f"{path}, line {line}: sample {name!r} stands there twice")
            self.rows[name] = {n: _number(v, path, line, n) for n, v in entry.items()}

    def of(self, sample: Path) -> dict[str, float]:
        """The numbers of a mesh file; ValueError when it has no row."""
        name = _stem(sample.name)
        if name not in self.rows:
            raise ValueError(f"{self.path} has no row for the sample {name!r}")
        return self.rows[name]

    @classmethod
    def beside(cls, sample: Path) -> ParameterTable | None:
        """The table in the folder of a mesh file, where there is one."""
        path = sample.with_name("parameters.csv")
        return cls(path) if path.is_file() else None


def input_files(sample: Path) -> dict[str, Path]:
    """Files of input functions that lie beside a mesh file, by the function's name."""
    start = sample.with_suffix("").name + "."
    found: dict[str, Path] = {}
    for path in sorted(sample.parent.glob(f"{glob.escape(start)}*")):
        name = path.name.removeprefix(start).removesuffix(path.suffix)
        if path != sample and path.suffix in _SIDE and name and "." not in name:
            if name in found:
                raise ValueError(f"{found[name]} and {path.name} are one input function: keep one")
            found[name] = path
    return found


def read_input(path: Path) -> InputFile:
    """Read the file of an input function; a column or array "weight" holds its weights."""
    if path.suffix == ".csv":
        header, rows = _table(path)
        if not rows:
            raise ValueError(f"{path} is empty: an input function needs points")
        numbers = [[_number(v, path, line, n) for n, v in zip(header, row, strict=True)]
                   for line, row in rows]  # fmt: skip
        columns = dict(zip(header, np.array(numbers, np.float64).T, strict=True))
        return InputFile(columns, columns.pop("weight", None))
    mesh = read_mesh(path)
    columns = dict(zip(AXES, mesh.points.T, strict=True)) | mesh.columns("points")
    return InputFile(columns, columns.pop("weight", None))


def marked(mesh: MeshFile, markers: str, values: Sequence[str]) -> dict[str, InputFile]:
    """The boundaries that an array marks with numbers other than 0, as `<markers>_<number>`.

    Args:
        mesh: the array lies on its points, or on its cells: then the nodes of marked boundary
            cells (lines of a plane mesh, faces of a solid one) count, with their share of them.
        markers: name of the array.
        values: arrays at the points that are the function's values.

    Raises:
        ValueError: no such array, no mark, or marks that are no whole numbers.
    """
    columns = dict(zip(AXES, mesh.points.T, strict=True))
    at_points = mesh.columns("points")
    missing = [name for name in values if name not in at_points]
    if missing:
        raise ValueError(f"{mesh.path} has no point data {missing[0]!r}, named in marker_values")
    columns |= {name: at_points[name] for name in values}
    if markers in at_points:
        marks = at_points[markers]
        groups = {k: (marks == k, None) for k in _marks(marks, mesh.path, markers)}
    else:
        groups = _marked_cells(mesh, markers)
    found = {}
    for mark, (chosen, shares) in groups.items():
        rows = {name: column[chosen] for name, column in columns.items()}
        found[f"{markers}_{mark}"] = InputFile(rows, None if shares is None else shares[chosen])
    return found


def _marked_cells(mesh: MeshFile, markers: str) -> dict[int, tuple[np.ndarray, np.ndarray | None]]:
    parts = mesh.mesh.cell_data.get(markers)
    if parts is None:
        known = ", ".join([*mesh.mesh.point_data, *mesh.mesh.cell_data]) or "none"
        raise ValueError(f"{mesh.path} has no array {markers!r} of markers; its arrays: {known}")
    blocks = [(kind, cells, np.ravel(parts[k])) for k, kind, cells in mesh.boundary()]
    marks = np.concatenate([m for _, _, m in blocks]) if blocks else np.empty(0)
    groups: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    for mark in _marks(marks, mesh.path, markers):
        cells = [(kind, nodes[m == mark]) for kind, nodes, m in blocks]
        chosen = np.zeros(len(mesh.points), bool)
        for _, nodes in cells:
            chosen[nodes] = True
        groups[mark] = (chosen, node_measures(mesh.points, cells))
    return groups


def _marks(values: np.ndarray, path: Path, markers: str) -> list[int]:
    found = np.unique(values[values != 0])
    if not len(found):
        raise ValueError(
            f"{path}: {markers!r} marks no boundary: it must be other than 0 on points, or on "
            "cells that are lines of a plane mesh or faces of a solid one"
        )
    if len(found) > 64 or (found != np.round(found)).any():
        raise ValueError(f"{path}: {markers!r} must hold a few whole numbers, one per boundary")
    return [int(value) for value in found]


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows with their lines; ValueError for ragged or unnamed columns."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            lines = [(reader.line_num, row) for row in reader if any(row)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is no table of text: {error}") from error
    if not lines:
        raise ValueError(f"{path} is empty")
    header = [name.strip() for name in lines[0][1]]
    twice = [name for number, name in enumerate(header) if name in header[:number]]
    if twice or "" in header:
        what = f"names the column {twice[0]!r} twice" if twice else "has a column without a name"
        raise ValueError(f"{path} {what}")
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line} has {len(row)} fields, the header names {len(header)}"
            )
    return header, lines[1:]


def _number(text: str, path: Path, line: int, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path}, line {line}: {column} is {text!r}, not a number") from None


def _stem(name: str) -> str:
    """A sample's name, given with the ending of its mesh file or without."""
    name = Path(name.strip()).name
    ending = next((e for e in MESHES if name.endswith(e)), "")
    return name.removesuffix(ending)
