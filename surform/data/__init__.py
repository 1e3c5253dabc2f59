"""From files to batches: fields on regular grids, normalisers, solvers that make data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surform.data.batches import FieldBatch
    from surform.data.description import FieldsDescription
    from surform.data.fields import open_fields
    from surform.data.fields_module import FieldsData
    from surform.data.normalizers import Normalizer

__all__ = ["FieldBatch", "FieldsData", "FieldsDescription", "Normalizer", "open_fields"]

_HOMES = {
    "FieldBatch": "batches",
    "FieldsData": "fields_module",
    "FieldsDescription": "description",
    "Normalizer": "normalizers",
    "open_fields": "fields",
}


def __getattr__(name: str) -> Any:
    """Import on first use: most of these bring torch or Lightning."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
