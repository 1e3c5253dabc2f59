"""What a model must know of the data it was trained on: names, grid, units, time step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys
from surform.data.units import conversion_factor, same_unit

__all__ = ["FieldsDescription"]

_TUPLES = ("inputs", "targets", "parameters", "axes", "shape", "target_axes", "target_shape")


@dataclass(frozen=True)
class FieldsDescription(DataDescription):
    """Variables, grid and units of fields on a regular grid, after sub-sampling; plain values only.

    Args:
        inputs: input variables, in channel order.
        targets: target variables, in channel order.
        parameters: scalars per sample; as channels they follow the input variables.
        axes: names of the spatial axes, in array order.
        shape: number of points per axis.
        coordinates: positions of the points per axis, in `units[axis]`.
        periodic: per axis, whether the field is periodic along it.
        units: unit strings of variables, parameters and axes ("1" = dimensionless).
        input_steps: frames per input window (T_in); None for steady problems.
        target_steps: frames per target window (T_out); None for steady problems.
        time_step: time between two frames of a window, in `units["time"]`; None when steady.
        source: provenance: "fingerprint" (sha256), "path", "solver", "version", ...
        target_axes: axes of the targets where they differ from those of the inputs (steady
            problems only); empty otherwise. Their positions stand in `coordinates` too.
        target_shape: number of points per target axis; empty with `target_axes`.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    coordinates: dict[str, list[float]] = field(default_factory=dict)
    periodic: dict[str, bool] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    input_steps: int | None = None
    target_steps: int | None = None
    time_step: float | None = None
    source: dict[str, str] = field(default_factory=dict)
    target_axes: tuple[str, ...] = ()
    target_shape: tuple[int, ...] = ()

    @property
    def in_channels(self) -> int:
        """Channels of `FieldBatch.inputs`: variables, then parameters."""
        return len(self.inputs) + len(self.parameters)

    @property
    def out_channels(self) -> int:
        """Channels of `FieldBatch.targets`."""
        return len(self.targets)

    @property
    def output_axes(self) -> tuple[str, ...]:
        """The axes that the targets lie on."""
        return self.target_axes or self.axes

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Points per axis of the targets."""
        return self.target_shape if self.target_axes else self.shape

    @property
    def all_axes(self) -> tuple[str, ...]:
        """Axes of inputs and targets, each once."""
        return tuple(dict.fromkeys((*self.axes, *self.output_axes)))

    def coordinate_tensors(
        self, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, ...]:
        """Positions of the grid points, one `(n_i,)` tensor per axis."""
        return tuple(
            torch.tensor(self.coordinates[axis], device=device, dtype=dtype) for axis in self.axes
        )

    def require_match(self, found: FieldsDescription, where: str) -> None:
        """Raise unless data described by `found` suit a model that was trained on this.

        Grids may differ: operators carry over to other resolutions.

        Raises:
            ValueError: other variables, axes, units or time step; `where` names the data.
        """
        for role in ("inputs", "targets", "parameters", "axes", "target_axes", "input_steps"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )
        for name in (*self.inputs, *self.targets, *self.parameters, *self.all_axes):
            mine, theirs = self.units.get(name, "1"), found.units.get(name, "1")
            if not same_unit(mine, theirs):
                factor = conversion_factor(theirs, mine)
                advice = f"multiply by {factor:g}" if factor else "they do not convert"
                raise ValueError(
                    f"the model was trained with {name} in {mine!r}, {where} gives it in "
                    f"{theirs!r}: {advice}"
                )
        if self.time_step and found.time_step and not _close(self.time_step, found.time_step):
            raise ValueError(
                f"the model was trained with a time step of {self.time_step:g}, {where} has "
                f"{found.time_step:g}: set time_stride"
            )

    def sizes(self) -> dict[str, int | tuple[str, ...]]:
        sizes: dict[str, int | tuple[str, ...]] = {
            "in_channels": (*self.inputs, *self.parameters),
            "out_channels": self.targets,
        }
        return sizes if self.input_steps is None else sizes | {"input_steps": self.input_steps}

    def table(self) -> dict[str, str]:
        table = {
            "inputs": ", ".join((*self.inputs, *self.parameters)),
            "targets": ", ".join(self.targets),
            "grid": _times(self.shape),
        }
        if self.target_axes:
            table["grid of the targets"] = _times(self.target_shape)
        if self.input_steps:
            table["frames"] = f"{self.input_steps} in, {self.target_steps} out"
        if self.time_step:
            table["time step"] = f"{self.time_step:g} {self._time_unit()}"
        return table | dict(self.source)

    def roles(self) -> list[tuple[str, str, str]]:
        return [
            (role.replace("_", " "), name, self.units.get(name, "1"))
            for role in ("inputs", "parameters", "targets", "axes", "target_axes")
            for name in getattr(self, role)
        ]

    def summary(self) -> str:
        targets, inputs = ", ".join(self.targets), ", ".join(self.inputs)
        solver = self.source.get("solver")
        data = f" of {solver} data" if solver else ""
        grid = _times(self.shape)
        if self.input_steps is None:
            return f"Predicts {targets} from {inputs}{data} on {grid} points."
        given, count = "" if inputs == targets else f" of {inputs}", self.input_steps
        where = "apart" if count > 1 else "before"
        step = f", {self.time_step:g} time units {where}" if self.time_step else ""
        frames = f"{count} frame{'s' * (count != 1)}{given}{step}"
        return f"Predicts the next {targets}{data} on {grid} points from {frames}."

    def layout(self) -> str:
        text = f"Trained on a grid of {_times(self.shape) or 'unknown size'} points"
        if self.target_shape:
            text += f", with targets on one of {_times(self.target_shape)}"
        if self.time_step is not None:
            text += (
                f", frames {self.time_step:g} {self._time_unit()} apart: "
                f"{self.input_steps} in, {self.target_steps} out"
            )
        return text + "."

    def limits(self) -> str:
        return (
            "Trusted only for data like those it was trained on: the same equation, parameter "
            "range, units, grid spacing and time step."
        )

    def _time_unit(self) -> str:
        unit = self.units.get("time", "1")
        return "time units" if unit in ("", "1") else unit

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FieldsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, {"inputs", "targets"}, "a fields description")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-3)
