"""2026-11, format 1 -> 2: every figure carries the label of its test protocol.

Format 1 stored `"metrics": {"relative_l2": 0.01}`, all measured on every window ("clean").
"""

from __future__ import annotations

from typing import Any

__all__ = ["SOURCE", "config", "state"]

SOURCE = 1


def config(values: dict[str, Any]) -> dict[str, Any]:
    """Label the figures."""
    metrics = values.get("metrics")
    if isinstance(metrics, dict):
        values["metrics"] = {
            name: {"value": value, "protocol": "clean"} for name, value in metrics.items()
        }
    return values


def state(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors did not change."""
    return tensors
