"""Save, load, convert and verify models: safetensors and JSON, nothing pickled, ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surform.registry import import_object

if TYPE_CHECKING:
    from surform.hub.loading import load_model as load_model
    from surform.hub.pretrained import Pretrained as Pretrained
    from surform.hub.recorded import recorded as recorded

# Lazily: `surform list` reads the index below this package and must not import torch.
_LAZY = {
    "Pretrained": "surform.hub.pretrained:Pretrained",
    "load_model": "surform.hub.loading:load_model",
    "recorded": "surform.hub.recorded:recorded",
}

__all__ = ["Pretrained", "load_model", "recorded"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_object(_LAZY[name])
    raise AttributeError(f"module 'surform.hub' has no attribute {name!r}")
