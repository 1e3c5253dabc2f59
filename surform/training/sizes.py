"""Arguments of networks that the data fix: what they must be, and where they are not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

__all__ = ["require_sizes", "size"]

Size = int | tuple[str, ...] | list[int]
Sizes = Mapping[str, Size]


def size(value: Size) -> int | list[int]:
    """The value of the argument: names are counted, numbers are as they are."""
    return len(value) if isinstance(value, tuple) else value


def require_sizes(net: nn.Module, sizes: Sizes) -> None:
    """ValueError when a network was built for another number than the data have.

    Args:
        net: its `arguments` are what it was built with; those it does not record are not checked.
        sizes: see `DataDescription.sizes`.
    """
    arguments = net.__dict__.get("arguments", {})
    for name, value in sizes.items():
        asked = arguments.get(name)
        if asked is None:
            continue
        asked = list(asked) if isinstance(asked, tuple) else asked
        if asked != size(value):
            listed = f" ({', '.join(value)})" if isinstance(value, tuple) and value else ""
            raise ValueError(
                f"the network has {name}={asked}, the data give {size(value)}{listed}: "
                f"set model.net.{name}, to null for what the data give, or change the data"
            )
