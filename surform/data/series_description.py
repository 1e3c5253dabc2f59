"""What a forecaster must know of the series it was trained on: names, step, windows, covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["SeriesDescription"]

_TUPLES = ("variates", "targets", "marks", "known", "static")
_READING = ("time", "id", "marks", "marks_step")  # in `source`: how the table was read


@dataclass(frozen=True)
class SeriesDescription(DataDescription):
    """Variates, time step and windows of multivariate series; plain values only.

    Args:
        variates: names of the history's columns, in order.
        targets: variates that are forecast, in order.
        lookback: steps given (L).
        horizon: steps forecast (H).
        step: time between two rows as a fixed frequency of numpy/pandas ("1h", "15min", "1D",
            "MS"), or "" for rows without timestamps.
        marks: names of the calendar features, in order.
        known: covariates known ahead, in order.
        static: covariates constant along a series, in order.
        normalize: whether variates are standardised over all training rows ("train", or not at
            all), or each "series" by its own statistics, which batches then bring along.
        units: unit strings of variates and covariates ("1" = dimensionless).
        source: provenance: "fingerprint" (sha256), "path", ...
    """

    variates: tuple[str, ...]
    targets: tuple[str, ...]
    lookback: int
    horizon: int
    step: str = ""
    marks: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    normalize: str = "train"
    units: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)

    @property
    def target_columns(self) -> tuple[int, ...]:
        """Where the targets stand among the variates."""
        return tuple(self.variates.index(name) for name in self.targets)

    def require_match(self, found: SeriesDescription, where: str) -> None:
        """Raise unless data described by `found` suit a model that was trained on this.

        Raises:
            ValueError: other variates, covariates, windows or time step; `where` names the data.
        """
        for role in ("lookback", "horizon"):  # of the options, not of the table
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {mine}, the option data.{role} has "
                    f"{theirs}: give --data.lookback {self.lookback} --data.horizon {self.horizon}"
                )
        for role in ("variates", "targets", "marks", "known", "static"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )
        if self.normalize != found.normalize:
            raise ValueError(
                f"the model was trained with data.normalize: {self.normalize}, {where} is read "
                f"with {found.normalize}"
            )
        if self.step and found.step and self.step != found.step:
            raise ValueError(
                f"the model was trained with a time step of {self.step}, {where} has {found.step}"
            )

    def sizes(self) -> dict[str, int | tuple[str, ...]]:
        return {
            name: getattr(self, name)
            for name in ("lookback", "horizon", "variates", "marks", "known", "static")
        }

    def table(self) -> dict[str, str]:
        table = {
            "variates": _listed(self.variates),
            "targets": "all" if self.targets == self.variates else _listed(self.targets),
            "windows": f"{self.lookback} steps in, {self.horizon} steps out",
            "time step": self.step,
            "calendar features": ", ".join(self.marks),
            "known ahead": ", ".join(self.known),
            "constant along a series": ", ".join(self.static),
        }
        told = {n: v for n, v in self.source.items() if n not in _READING}
        return {name: value for name, value in table.items() if value} | told

    def roles(self) -> list[tuple[str, str, str]]:
        named = {"variate": self.variates, "calendar": self.marks, "known ahead": self.known}
        named |= {"constant": self.static}
        return [
            (f"{role}, target" if role == "variate" and name in self.targets else role, name, unit)
            for role, names in named.items()
            for name in names
            for unit in [self.units.get(name) or "not given"]
        ]

    def summary(self) -> str:
        count = len(self.variates)
        names = ", ".join(self.targets[:8]) + (", ..." if len(self.targets) > 8 else "")
        given = f"{count} variate{'s' * (count != 1)}"
        return (
            f"Forecasts the next {self._steps(self.horizon)} of {names} from the last "
            f"{self._steps(self.lookback)} of {given}."
        )

    def layout(self) -> str:
        return f"Windows of {self._steps(self.lookback)} in, {self._steps(self.horizon)} out."

    def limits(self) -> str:
        return (
            "Trusted only for series like those it was trained on: the same quantities in the same "
            "units, at the same time step, without a change of regime since."
        )

    def _steps(self, count: int) -> str:
        return f"{count} steps" + (f" of {self.step}" if self.step else "")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SeriesDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(
            cls, values, {"variates", "targets", "lookback", "horizon"}, "a series description"
        )
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
