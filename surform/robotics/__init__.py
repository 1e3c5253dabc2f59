"""Policies of robots: what a robot sees and is told in, its next actions out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surform.robotics.acting import ready_to_act
    from surform.robotics.closed_loop import evaluate
    from surform.robotics.evaluation import Evaluation
    from surform.robotics.policy import Policy

__all__ = ["Evaluation", "Policy", "evaluate", "ready_to_act"]

_HOMES = {
    "Evaluation": "evaluation",
    "Policy": "policy",
    "evaluate": "closed_loop",
    "ready_to_act": "acting",
}


def __getattr__(name: str) -> Any:
    """Import on first use: they bring torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
