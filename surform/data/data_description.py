"""What every description of data offers, whatever the domain: sizes, tables, sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

__all__ = ["DataDescription"]


class DataDescription:
    """Base of the dataclasses that say what a model was trained on; fields hold plain values.

    The command line, reports and model cards ask here, and know no domain.
    """

    def sizes(self) -> Mapping[str, int | tuple[str, ...] | list[int]]:
        """Arguments of networks that the data fix: numbers, or the names that are counted."""
        return {}

    def table(self) -> dict[str, str]:
        """What the data are, for reports: a word for it and its value."""
        return {}

    def roles(self) -> list[tuple[str, str, str]]:
        """(role, name, unit) of everything that goes in or comes out."""
        return []

    def summary(self) -> str:
        """One sentence on what a model of these data predicts, from what; "" when unknown."""
        return ""

    def layout(self) -> str:
        """One sentence on grid, windows and time step, to stand below the roles."""
        return ""

    def limits(self) -> str:
        """What data must have in common with these for a model to be trusted on them."""
        return "Trusted only for data like those it was trained on."

    def to_dict(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers only: ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()  # type: ignore[call-overload]
        }
