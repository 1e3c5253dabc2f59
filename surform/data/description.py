"""What a model must know of the data it was trained on: names, grid, units, time step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from surform.data.units import conversion_factor, same_unit

__all__ = ["FieldsDescription"]

_TUPLES = ("inputs", "targets", "parameters", "axes", "shape", "target_axes", "target_shape")


@dataclass(frozen=True)
class FieldsDescription:
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

    def to_dict(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only: ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FieldsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown keys in a fields description: {', '.join(unknown)}")
        missing = sorted({"inputs", "targets"} - set(values))
        if missing:
            raise ValueError(f"a fields description lacks the keys {', '.join(missing)}")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-3)
