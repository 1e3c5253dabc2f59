"""How a network was built, as plain values: its registered name and its constructor arguments."""

from __future__ import annotations

import math
import sys
from typing import Any

from surform.registry import import_object, names

__all__ = ["plain", "recorded", "registered_name"]


def recorded(net: Any) -> dict[str, Any]:
    """`{"name" | "class_path": ..., "arguments": {...}}` of a network.

    Arguments come from `net.arguments`, which `surform.layers.arguments.record_arguments` and
    `surform.create_model` fill in.

    Raises:
        ValueError: the network does not know its arguments, or one of them is no plain value.
    """
    cls = type(net)
    arguments = net.__dict__.get("arguments")
    if not isinstance(arguments, dict):
        raise ValueError(
            f"{cls.__name__} does not know its constructor arguments: decorate its __init__ with "
            "surform.layers.arguments.record_arguments, or build it with surform.create_model"
        )
    name = registered_name(cls)
    where = {"name": name} if name else {"class_path": f"{cls.__module__}:{cls.__qualname__}"}
    values = {key: plain(value, f"{cls.__name__}({key}=)") for key, value in arguments.items()}
    return where | {"arguments": values}


def registered_name(cls: type) -> str | None:
    """The name under which a model class is registered; None when it is not."""
    own = f"{cls.__module__}:{cls.__qualname__}"
    table = names("models")
    for name, path in table.items():
        if path == own:
            return name
    for name, path in table.items():  # an entry point may name a package that re-exports the class
        module, _, attribute = path.partition(":")
        if attribute == cls.__qualname__ and module in sys.modules and import_object(path) is cls:
            return name
    return None


def plain(value: Any, what: str) -> Any:
    """The value as JSON knows it (tuples become lists); ValueError names `what` otherwise."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise ValueError(f"{what} is {value}: only finite numbers can be saved")
    if isinstance(value, (tuple, list)):
        return [plain(item, what) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item, what) for key, item in value.items()}
    raise ValueError(
        f"{what} is a {type(value).__name__}: a saved model holds only numbers, strings, "
        "booleans, None, and lists or dicts of them"
    )
