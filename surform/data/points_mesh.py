"""Samples on meshes from VTU and legacy VTK files, one file per sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from surform.data.mesh_files import MeshFile, Place, mesh_paths, read_mesh
from surform.data.mesh_inputs import (
    AXES,
    InputFile,
    ParameterTable,
    input_files,
    marked,
    read_input,
)
from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.points_selection import PointsSelection, require
from surform.data.points_source import PointsSource

__all__ = ["MeshPoints"]


class MeshPoints(PointsSource):
    """Mesh files with targets on their points or cells; see `mesh_inputs` for what lies beside.

    The first file says what there is; every other one is held against it. A mesh whose points
    share one z is plane: its coordinates are x and y, and vectors on it have no `_z`.

    Args:
        paths: files or folders.
        selection: what is read, as what.

    Raises:
        FileNotFoundError: no mesh file there.
        ValueError: a name that is asked for is not there, or cells of an unknown kind.
    """

    def __init__(self, paths: Sequence[str], selection: PointsSelection) -> None:
        self.files = mesh_paths(paths)
        if not self.files:
            raise FileNotFoundError(f"no .vtu or .vtk file in {', '.join(paths)}")
        self.selection = selection
        more = len(self.files) - 1
        self.name = str(self.files[0]) + (f" and {more} more" if more else "")
        self._tables: dict[Path, ParameterTable | None] = {}
        first = read_mesh(self.files[0])
        self.on: Place = _where_targets_lie(first, selection)
        self.about = self._describe(first)

    def __len__(self) -> int:
        return len(self.files)

    def place(self, sample: int) -> str:
        return str(self.files[sample])

    def paths(self) -> list[str]:
        return [str(file) for file in self.files]

    def read_raw(self, sample: int) -> PointSample:
        mesh = read_mesh(self.files[sample])
        about, name = self.about, str(mesh.path)
        columns = self._positions(mesh) | mesh.columns(self.on)
        require(about.features, columns, "features", name)
        require(about.targets, columns, "targets", name)
        if self.selection.coordinates is None:
            self._require_dimension(mesh)
        numbers = self._numbers(mesh)
        require(about.parameters, numbers, "parameters", name)
        functions = self._described_functions(mesh)
        return PointSample(
            points=_stacked(columns, about.columns),
            targets=_stacked(columns, about.targets, len(columns["x"])),
            parameters=np.array([numbers[name] for name in about.parameters], np.float64),
            inputs={n: _stacked(f.columns, about.inputs[n]) for n, f in functions.items()},
            weights=self._weights(mesh),
            input_weights={n: f.weights for n, f in functions.items() if n in about.weighted},
        )

    # -- what a file holds -------------------------------------------------------------------

    def _describe(self, first: MeshFile) -> PointsDescription:
        selection, name = self.selection, str(first.path)
        coordinates = selection.coordinates or _varying(first.positions(self.on))
        require(coordinates, AXES, "coordinates", name)
        features, targets = self._data_columns(first, coordinates)
        numbers = self._numbers(first)
        parameters = selection.choose("parameters", list(numbers), name)
        functions = self._functions(first)
        inputs = {
            function: _columns_of(functions[function], coordinates, function, name)
            for function in selection.choose("inputs", list(functions), name)
        }
        weighted = [n for n in inputs if functions[n].weights is not None]
        if selection.weights and first.blocks():
            weighted.insert(0, "points")
        return PointsDescription(
            coordinates=coordinates,
            targets=targets,
            features=features,
            parameters=parameters,
            inputs=inputs,
            weighted=tuple(weighted) if selection.weights else (),
            reading={
                "named_coordinates": selection.coordinates is not None,
                "on": self.on,
                "markers": selection.markers,
                "marker_values": list(selection.marker_values),
            },
        )

    def _data_columns(
        self, first: MeshFile, coordinates: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Features and targets: what is asked for, or all data that have no other role."""
        selection, name = self.selection, str(first.path)
        there = first.columns(self.on)
        vectors = _in_extent(first.vectors(self.on), coordinates)
        features = _expanded(selection.features or (), vectors)
        if selection.targets is None:
            others = (*features, selection.markers, *selection.marker_values)
            arrays = dict.fromkeys([*first.mesh.point_data, *first.mesh.cell_data])
            found = _expanded(arrays, vectors)
            targets = tuple(n for n in found if n in there and n not in others)
        else:
            targets = _expanded(selection.targets, vectors)
        if not selection.need_targets and not set(targets) <= set(there):
            targets = ()
        require(features, there, "features", name)
        require(targets, there, "targets", name)
        if selection.need_targets and not targets:
            raise ValueError(f"{name} has no data on its {self.on}: there is nothing to predict")
        return features, targets

    def _positions(self, mesh: MeshFile) -> dict[str, np.ndarray]:
        return dict(zip(AXES, mesh.positions(self.on).T, strict=True))

    def _require_dimension(self, mesh: MeshFile) -> None:
        """ValueError when a mesh is solid where the first one is plane, or the other way round."""
        found = _varying(mesh.positions(self.on))
        if found != self.about.coordinates:
            raise ValueError(
                f"{mesh.path} extends in {', '.join(found)}, {self.files[0]} in "
                f"{', '.join(self.about.coordinates)}: name the coordinates, or leave it out"
            )

    def _numbers(self, mesh: MeshFile) -> dict[str, float]:
        folder = mesh.path.parent
        if folder not in self._tables:
            self._tables[folder] = ParameterTable.beside(mesh.path)
        table, own = self._tables[folder], mesh.numbers()
        given = {} if table is None else table.of(mesh.path)
        twice = sorted(own.keys() & given.keys())
        if twice and table is not None:
            raise ValueError(f"{twice[0]!r} is given by {mesh.path} and by {table.path}: keep one")
        return own | given

    def _functions(self, mesh: MeshFile) -> dict[str, InputFile]:
        selection = self.selection
        found = {name: read_input(path) for name, path in input_files(mesh.path).items()}
        if selection.markers is not None:
            found |= marked(mesh, selection.markers, selection.marker_values)
        return found

    def _described_functions(self, mesh: MeshFile) -> dict[str, InputFile]:
        """The input functions of a sample; ValueError unless they are as the first sample's."""
        about, name = self.about, str(mesh.path)
        functions = self._functions(mesh)
        if set(functions) != set(about.inputs) and self.selection.inputs is None:
            raise ValueError(
                f"{name} has the input functions {', '.join(sorted(functions)) or 'none'}, others "
                f"have {', '.join(about.inputs) or 'none'}"
            )
        require(about.inputs, functions, "inputs", name)
        for function, columns in about.inputs.items():
            require(columns, functions[function].columns, f"column of {function}", name)
            if function in about.weighted and functions[function].weights is None:
                raise ValueError(f"{name} gives no weights of {function}, other samples do")
        return {function: functions[function] for function in about.inputs}

    def _weights(self, mesh: MeshFile) -> np.ndarray | None:
        if "points" not in self.about.weighted:
            return None
        weights = mesh.measures(self.on)
        if weights is None:
            raise ValueError(
                f"{mesh.path} has no cells to compute weights from, {self.files[0]} has: set "
                "weights to false to go without"
            )
        return weights


def _where_targets_lie(first: MeshFile, selection: PointsSelection) -> Place:
    if selection.on != "auto":
        return selection.on
    at_points = {*first.columns("points"), *first.vectors("points")}
    others = {*(selection.features or ()), selection.markers, *selection.marker_values}
    wanted = set(selection.targets or at_points - others)
    if not first.mesh.cell_data or (wanted and wanted <= at_points):
        return "points"
    return "cells" if wanted <= {*first.mesh.cell_data, *first.columns("cells")} else "points"


def _varying(positions: np.ndarray) -> tuple[str, ...]:
    """The axes along which points differ; x where all are one point."""
    spread = np.ptp(positions, axis=0) if len(positions) else np.zeros(3)
    least = 1e-12 * spread.max()  # rounding
    return tuple(a for a, s in zip(AXES, spread, strict=True) if s > least) or ("x",)


def _in_extent(
    vectors: Mapping[str, tuple[str, ...]], coordinates: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Vectors without their components across a plane mesh."""
    return {
        name: tuple(c for c in found if len(found) > 3 or c[-1] in coordinates)
        for name, found in vectors.items()
    }


def _expanded(names: Iterable[str], vectors: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Names of columns: those of vectors stand for their components."""
    return tuple(column for name in names for column in vectors.get(name, (name,)))


def _columns_of(
    found: InputFile, coordinates: Sequence[str], function: str, where: str
) -> tuple[str, ...]:
    """The columns of an input function: coordinates, then its values in the order of its file."""
    require(coordinates, found.columns, f"column of {function}", where)
    return (*coordinates, *(name for name in found.columns if name not in AXES))


def _stacked(
    columns: Mapping[str, np.ndarray], names: Sequence[str], rows: int | None = None
) -> np.ndarray:
    """`(rows, names)`, float64."""
    if not names:
        return np.empty((rows or 0, 0))
    return np.stack([columns[name] for name in names], axis=-1)
