"""What a forecaster must know of the series it was trained on: names, step, windows, covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["SeriesDescription"]

_TUPLES = ("variates", "targets", "marks", "known", "static")


@dataclass(frozen=True)
class SeriesDescription:
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
        for role in ("variates", "targets", "marks", "known", "static", "lookback", "horizon"):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )
        if self.step and found.step and self.step != found.step:
            raise ValueError(
                f"the model was trained with a time step of {self.step}, {where} has {found.step}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only: ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SeriesDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown keys in a series description: {', '.join(unknown)}")
        missing = sorted({"variates", "targets", "lookback", "horizon"} - set(values))
        if missing:
            raise ValueError(f"a series description lacks the keys {', '.join(missing)}")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
