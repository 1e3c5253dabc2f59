"""The models of a rollout: one, several, or the members of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surform.cli.load import load_any

__all__ = ["load_models"]


def load_models(sources: Sequence[str], device: str) -> list[Any]:
    """Models that step the same fields in time.

    Raises:
        ValueError: one that does not, does not say what it works on, or works on other data than
            the first one.
    """
    from surform.uncertainty.members import members_of

    models: list[Any] = []
    for source in sources:
        model = load_any(source, device)
        if not hasattr(model, "time_window"):
            other = "md" if model.kind == "atoms" else "predict"
            raise ValueError(
                f"{source} does not step fields in time; `surform {other}` runs {model.kind} models"
            )
        if getattr(model, "description", None) is None:
            raise ValueError(
                f"{source} does not say which variables, axes and time step it works on"
            )
        if models:
            models[0].description.require_match(model.description, source)
        models += members_of(model)
    return models
