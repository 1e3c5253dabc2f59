"""surform: published domain transformers that install, verify, train, roll out and load alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surform.registry import create_model, import_object, list_models

if TYPE_CHECKING:
    from surform.hub import load_model as load_model
    from surform.rollout import rollout_to as rollout_to

__version__ = "0.1.0"

_LAZY = {
    "load_model": "surform.hub:load_model",
    "rollout_to": "surform.rollout:rollout_to",
}

__all__ = ["__version__", "create_model", "list_models", "load_model", "rollout_to"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_object(_LAZY[name])
    raise AttributeError(f"module 'surform' has no attribute {name!r}")
