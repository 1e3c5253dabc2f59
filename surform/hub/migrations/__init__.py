"""Old formats of saved models, brought up to date step by step: one dated file per step.

A step is never edited after its release. To add one: write the next dated file with `SOURCE`,
`config` and `state`, append it to `_STEPS`, and store a folder in the old format in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surform.hub.migrations import m2026_11_argument_names, m2026_11_metric_protocols
from surform.hub.migrations.m2026_11_argument_names import former_names

__all__ = ["FORMAT_VERSION", "former_names", "migrate_config", "migrate_state"]

_STEPS = (m2026_11_metric_protocols, m2026_11_argument_names)
_CONFIG: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    s.SOURCE: s.config for s in _STEPS
}
_STATE: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {s.SOURCE: s.state for s in _STEPS}

FORMAT_VERSION = len(_STEPS) + 1


def migrate_config(values: dict[str, Any], version: int) -> dict[str, Any]:
    """The JSON object of format `version` as one of the present format; the input is untouched."""
    for step in range(version, FORMAT_VERSION):
        values = _CONFIG[step](dict(values)) | {"format_version": step + 1}
    return values


def migrate_state(tensors: dict[str, Any], version: int) -> dict[str, Any]:
    """The tensors of format `version` under their present names."""
    for step in range(version, FORMAT_VERSION):
        tensors = _STATE[step](dict(tensors))
    return tensors
