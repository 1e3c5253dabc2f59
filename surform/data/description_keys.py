"""The keys of descriptions that were saved as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

__all__ = ["check_keys"]


def check_keys(kind: Any, values: Mapping[str, Any], needed: Iterable[str], what: str) -> None:
    """ValueError unless the keys of `values` are fields of the dataclass `kind`, `needed` in them.

    Args:
        what: what the values describe, with its article: "a fields description".
    """
    unknown = sorted(set(values) - {item.name for item in fields(kind)})
    if unknown:
        raise ValueError(f"unknown keys in {what}: {', '.join(unknown)}")
    missing = sorted(set(needed) - set(values))
    if missing:
        raise ValueError(f"{what} lacks the keys {', '.join(missing)}")
