"""Networks and surrogates from stored names and arguments; nothing unregistered is imported."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from surform.registry import create_model, find, names

__all__ = ["build_net", "call"]


def build_net(net: Mapping[str, Any], where: str) -> nn.Module:
    """A network with fresh weights from {"name" | "class_path", "arguments"}.

    Raises:
        ValueError: an unknown name, a class that is not registered, an argument that the class
            does not have or a value that it refuses; `where` is named.
    """
    name = net.get("name") or _name_of(net["class_path"], where)
    arguments = {key: _tuples(value) for key, value in net["arguments"].items()}
    return call(find("models", name), arguments, where, lambda **kw: create_model(name, **kw))


def _name_of(class_path: str, where: str) -> str:
    for name, path in names("models").items():
        if path == class_path:
            return name
    raise ValueError(
        f"{where} asks for the class {class_path!r}, which is not registered and is not imported "
        "for safety: install the package that offers it in the entry-point group surform.models, "
        "or pass net="
    )


def call(
    cls: Any, arguments: Mapping[str, Any], where: str, build: Callable[..., Any] | None = None
) -> Any:
    """`cls(**arguments)`, with unknown arguments named instead of a TypeError."""
    known = inspect.signature(cls).parameters
    variadic = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for key in arguments:
        if key not in known and not variadic:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{where}: {cls.__name__} has no argument {key!r}{hint}")
    lacking = [
        key
        for key, p in known.items()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and key not in arguments
    ]
    if lacking:
        raise ValueError(f"{where}: {cls.__name__} needs the argument {', '.join(lacking)}")
    try:
        return (build or cls)(**arguments)
    except (TypeError, ValueError, RuntimeError, MemoryError, ArithmeticError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{where}: {cls.__name__} refuses its arguments: {reason}") from error


def _tuples(value: Any) -> Any:
    """Constructors take tuples; JSON knows only lists."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value
