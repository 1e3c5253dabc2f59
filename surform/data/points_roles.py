"""Which variables of a file of samples on meshes are coordinates, targets, parameters, inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import xarray as xr

from surform.data.points_description import PointsDescription, input_variable
from surform.data.points_selection import PointsSelection, require

__all__ = ["describe_stored"]

_ROLES = ("coordinates", "features", "targets", "parameters")


def describe_stored(
    dataset: xr.Dataset, selection: PointsSelection, where: str
) -> PointsDescription:
    """Names and units of what a selection takes from a file; see `points_xarray` for the layout.

    Raises:
        ValueError: a variable that is asked for, or that the file's own roles name, is missing.
    """
    at_points = _along(dataset, "point")
    found = _stored(dataset, where) or _guessed(dataset, at_points)
    roles: dict[str, Any] = {role: _chosen(selection, role, found[role]) for role in _ROLES}
    if selection.features is None:
        roles["features"] = _without(roles["features"], roles["targets"])
    if selection.targets is None:
        roles["targets"] = _without(roles["targets"], roles["features"])
    if not selection.need_targets and not set(roles["targets"]) <= set(at_points):
        roles["targets"] = ()
    for role in ("coordinates", "features", "targets"):
        require(roles[role], at_points, role, where)
    require(roles["parameters"], _parameters(dataset), "parameters", where)
    if not roles["coordinates"]:
        raise ValueError(f"{where} has no coordinates x, y or z along 'point': name them")
    if not roles["targets"] and selection.need_targets:
        raise ValueError(f"{where} has no targets along 'point': name them")
    names = selection.choose("inputs", list(found["inputs"]), where)
    inputs = {name: tuple(found["inputs"][name]) for name in names}
    for name, columns in inputs.items():
        variables = [input_variable(name, column) for column in columns]
        require(variables, _along(dataset, f"{name}_point"), f"column of {name}", where)
    try:
        about = PointsDescription(**roles, inputs=inputs)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    weights = {"points": "weight"} | {name: input_variable(name, "weight") for name in inputs}
    return PointsDescription(
        **roles,
        inputs=inputs,
        units=_units(dataset, about),
        weighted=tuple(
            name for name, at in weights.items() if selection.weights and at in dataset.variables
        ),
    )


def _stored(dataset: xr.Dataset, where: str) -> dict[str, Any] | None:
    text = dataset.attrs.get("roles")
    if text is None:
        return None
    try:
        roles = json.loads(str(text))
        found: dict[str, Any] = {role: list(roles[role]) for role in _ROLES}
        found["inputs"] = {name: list(columns) for name, columns in roles["inputs"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where}: the attribute `roles` must be JSON with {', '.join(_ROLES)} and inputs"
        ) from error
    return found


def _guessed(dataset: xr.Dataset, at_points: Sequence[str]) -> dict[str, Any]:
    """x, y, z; <input>_<column> along <input>_point; what is a number per sample; and the rest."""
    coordinates = [name for name in "xyz" if name in at_points]
    inputs = {}
    for dim in sorted(map(str, dataset.dims)):
        if dim.endswith("_point"):
            name = dim.removesuffix("_point")
            columns = [v.removeprefix(f"{name}_") for v in _along(dataset, dim)]
            values = [c for c in columns if c not in (*coordinates, "weight")]
            inputs[name] = [*coordinates, *values]
    return {
        "coordinates": coordinates,
        "features": [],
        "targets": [n for n in at_points if n not in (*coordinates, "weight")],
        "parameters": _parameters(dataset),
        "inputs": inputs,
    }


def _chosen(selection: PointsSelection, role: str, found: Sequence[str]) -> tuple[str, ...]:
    asked = getattr(selection, role)
    return tuple(found if asked is None else asked)


def _along(dataset: xr.Dataset, dim: str) -> list[str]:
    """The numbers along a dimension of points, one mesh after the other or ("sample", dim)."""
    shapes = ((dim,), ("sample", dim))
    return [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.dims in shapes and variable.dtype.kind in "fiub" and name != dim
    ]


def _parameters(dataset: xr.Dataset) -> list[str]:
    return [
        str(name)
        for name, variable in dataset.variables.items()
        if variable.dims == ("sample",)
        and variable.dtype.kind in "fiub"
        and name != "sample"
        and not str(name).endswith("row_size")
    ]


def _without(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in others)


def _units(dataset: xr.Dataset, about: PointsDescription) -> dict[str, str]:
    """Units by name; those of the coordinates of input functions are the coordinates'."""
    found = {}
    for name in about.variables():
        unit = dataset[name].attrs.get("units")
        if unit is not None:
            found[name] = str(unit)
    for given, columns in about.inputs.items():
        for column in columns[: len(about.coordinates)]:
            found.pop(input_variable(given, column), None)
    return found
