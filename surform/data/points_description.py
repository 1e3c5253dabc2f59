"""What a model must know of data on irregular meshes: names, columns and units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys
from surform.data.units import conversion_factor, same_unit

__all__ = ["PointsDescription", "input_variable"]

_TUPLES = ("coordinates", "targets", "features", "parameters", "weighted")
_RESERVED = ("sample", "point", "row_size", "weight")


@dataclass(frozen=True)
class PointsDescription(DataDescription):
    """Names and units of samples on irregular meshes; plain values only.

    Args:
        coordinates: names of the leading columns of the points, e.g. ("x", "y").
        targets: target variables, in column order.
        features: what else is known at the points; their columns follow the coordinates.
        parameters: numbers that hold for a whole sample.
        inputs: columns of every input function, which begin with `coordinates`; further columns
            are its values.
        units: unit strings ("1" = dimensionless) by name, where they are known; the value columns
            of an input function stand under "<input>_<column>".
        weighted: what has quadrature weights: "points", and names of input functions.
        reading: how mesh files were read: "on", "markers", "marker_values" (`PointsSelection`).
        source: provenance: "fingerprint" (sha256), "path", "points" (how many a training sample
            has), "solver", "version", ...
    """

    coordinates: tuple[str, ...]
    targets: tuple[str, ...]
    features: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    weighted: tuple[str, ...] = ()
    reading: dict[str, Any] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.coordinates:
            raise ValueError("points need at least one coordinate")
        for name, columns in self.inputs.items():
            count = len(self.coordinates)
            if tuple(columns[:count]) != self.coordinates:
                raise ValueError(
                    f"the columns of input function {name!r} must begin with the coordinates "
                    f"{', '.join(self.coordinates)} in this order, they are {', '.join(columns)}"
                )
        taken = {f"{name}_{what}" for name in self.inputs for what in ("row_size", "weight")}
        reserved, seen = taken.union(_RESERVED), set[str]()
        for name in self.variables():
            if name in reserved or name in seen:
                why = "is a reserved name" if name in reserved else "is given twice"
                raise ValueError(f"the variable {name!r} {why}: rename it")
            seen.add(name)
        unknown = [n for n in self.weighted if n != "points" and n not in self.inputs]
        if unknown:
            raise ValueError(f"weights of {unknown[0]!r}, which is no input function")

    def variables(self) -> Iterator[str]:
        """The names of all variables, each of its own in a file."""
        yield from (*self.coordinates, *self.features, *self.targets, *self.parameters)
        for name, columns in self.inputs.items():
            yield from (input_variable(name, column) for column in columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the points: coordinates, then features."""
        return (*self.coordinates, *self.features)

    def unit(self, name: str) -> str | None:
        """The unit of a variable, None where unknown; input functions share the coordinates'."""
        for given, columns in self.inputs.items():
            for column in columns[: len(self.coordinates)]:
                if name == input_variable(given, column):
                    name = column
        return self.units.get(name)

    def require_match(self, found: PointsDescription, where: str) -> None:
        """Raise unless data described by `found` suit a model that was trained on this.

        Meshes may differ; data may lack what the model is to predict. Mesh files know no units:
        only those that both sides give are compared.

        Raises:
            ValueError: other variables, columns or units; `where` names the data.
        """
        for role in ("coordinates", "features", "parameters", "targets"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs and not (role == "targets" and not theirs):
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )
        if list(self.inputs) != list(found.inputs):
            raise ValueError(
                f"the model was trained with the input functions {_listed(self.inputs)}, {where} "
                f"has {_listed(found.inputs)}"
            )
        for name, columns in self.inputs.items():
            if tuple(columns) != tuple(found.inputs[name]):
                raise ValueError(
                    f"the model was trained with the columns {_listed(columns)} of {name}, {where} "
                    f"has {_listed(found.inputs[name])}"
                )
        for name in self.units.keys() & found.units.keys():
            self._require_unit(name, self.units[name], found.units[name], where)

    def _require_unit(self, name: str, mine: str, theirs: str, where: str) -> None:
        if same_unit(mine, theirs):
            return
        factor = conversion_factor(theirs, mine)
        advice = f"multiply by {factor:g}" if factor else "they do not convert"
        raise ValueError(
            f"the model was trained with {name} in {mine!r}, {where} gives it in {theirs!r}: "
            f"{advice}"
        )

    def sizes(self) -> dict[str, int | tuple[str, ...] | list[int]]:
        return {
            "in_channels": self.columns,
            "parameters": self.parameters,
            "input_channels": [len(columns) for columns in self.inputs.values()],
            "out_channels": self.targets,
        }

    def table(self) -> dict[str, str]:
        table = {"targets": _listed(self.targets), "coordinates": _listed(self.coordinates)}
        if self.features:
            table["features"] = _listed(self.features)
        if self.parameters:
            table["parameters"] = _listed(self.parameters)
        for name, columns in self.inputs.items():
            table[f"input function {name}"] = _listed(columns)
        return table | dict(self.source)

    def roles(self) -> list[tuple[str, str, str]]:
        entries = [
            (role, name, self.unit(name) or "not given")
            for role in ("coordinates", "features", "parameters", "targets")
            for name in getattr(self, role)
        ]
        for name, columns in self.inputs.items():
            for column in columns:
                unit = self.unit(input_variable(name, column))
                entries.append((f"input function {name}", column, unit or "not given"))
        return entries

    def summary(self) -> str:
        given = [_listed(self.parameters)] if self.parameters else []
        if self.inputs:
            many = "s" if len(self.inputs) > 1 else ""
            given.append(f"the input function{many} {_listed(self.inputs)}")
        origin = f" from {' and '.join(given)}" if given else ""
        return f"Predicts {_listed(self.targets)} at the points of any mesh{origin}."

    def layout(self) -> str:
        size = f" with {self.source['points']} points" if "points" in self.source else ""
        return f"Trained on meshes{size} in the coordinates {_listed(self.coordinates)}."

    def limits(self) -> str:
        return (
            "Trusted only for data like those it was trained on: the same equation, range of "
            "shapes and parameters, units, and density of points."
        )

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"inputs": {n: list(c) for n, c in self.inputs.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PointsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, {"coordinates", "targets"}, "a points description")
        plain: dict[str, Any] = {
            name: tuple(value) if name in _TUPLES else value for name, value in values.items()
        }
        plain["inputs"] = {name: tuple(c) for name, c in plain.get("inputs", {}).items()}
        return cls(**plain)


def input_variable(name: str, column: str) -> str:
    """The name in a file of a column of an input function."""
    return f"{name}_{column}"


def _listed(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
