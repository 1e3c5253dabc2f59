"""Compact transformers by their published names."""

from __future__ import annotations

from typing import Any

from torch import nn

from surform.hub.official.cct import SYSTEM
from surform.hub.official.cct_names import official_arguments, published_names
from surform.registry import create_model

__all__ = ["published", "published_names"]


def published(name: str, **changes: Any) -> nn.Module:
    """A fresh network of a published size: `published("cct_7_3x1_32", num_classes=100)`.

    Sine positions are real ones, whatever the official factories made of the name.

    Args:
        changes: of our arguments, such as in_channels, positions or drop_path.

    Raises:
        ValueError: no published name, or an argument that cannot be.
    """
    model, arguments = SYSTEM.arguments(official_arguments(name))
    if "legacy_sine" in arguments:
        arguments["legacy_sine"] = False
    return create_model(model, **arguments | changes)
