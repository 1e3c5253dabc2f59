"""Arguments of networks that the data fix: what they must be, and where they are not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

__all__ = ["require_sizes", "size"]

Sizes = Mapping[str, int | tuple[str, ...]]


def size(value: int | tuple[str, ...]) -> int:
    """The number: names are counted."""
    return value if isinstance(value, int) else len(value)


def require_sizes(net: nn.Module, sizes: Sizes) -> None:
    """ValueError when a network was built for another number than the data have.

    Args:
        net: its `arguments` are what it was built with; those it does not record are not checked.
        sizes: see `DataDescription.sizes`.
    """
    arguments = net.__dict__.get("arguments", {})
    for name, value in sizes.items():
        asked = arguments.get(name)
        if asked is not None and asked != size(value):
            listed = "" if isinstance(value, int) or not value else f" ({', '.join(value)})"
            raise ValueError(
                f"the network has {name}={asked}, the data give {size(value)}{listed}: "
                f"set model.net.{name}, to null for what the data give, or change the data"
            )
