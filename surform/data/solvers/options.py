"""The options of a solver, read from its signature and docstring: they are written down once."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from surform.data.points_description import PointsDescription
from surform.data.solvers import SOLVERS

__all__ = [
    "Option",
    "default_batch",
    "find_solver",
    "full_options",
    "makes_demonstrations",
    "makes_rows",
    "makes_series",
    "makes_trajectory",
    "pictures_set",
    "points_description",
    "solver_options",
    "summary",
]

_DEFAULT_BATCH = 16
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


@dataclass(frozen=True)
class Option:
    """One keyword argument of a solver."""

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str

    def parse(self, value: Any) -> Any:
        """Return `value`, given in Python, YAML or on the command line, as the option's type."""
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            if self.optional:
                return None
            raise ValueError(self._complaint(value))
        if self.choices and value not in self.choices:
            raise ValueError(self._complaint(value))
        if self.kind is bool:
            return self._parse_bool(value)
        if isinstance(value, bool):
            raise ValueError(self._complaint(value))
        try:
            number = self.kind(value)
        except (TypeError, ValueError):
            raise ValueError(self._complaint(value)) from None
        if self.kind is int and isinstance(value, float) and number != value:
            raise ValueError(self._complaint(value))
        return number

    def _parse_bool(self, value: Any) -> bool:
        text = str(value).lower()
        if text not in ("true", "false"):
            raise ValueError(self._complaint(value))
        return text == "true"

    def _complaint(self, value: Any) -> str:
        valid = " or ".join(map(repr, self.choices)) if self.choices else _KINDS[self.kind]
        return f"{self.name} is {value!r}, but it must be {valid}"


def find_solver(name: str) -> Callable[..., Any]:
    """Return the solver called `name`."""
    if name not in SOLVERS:
        raise ValueError(_unknown("solver", name, SOLVERS))
    module, _, function = SOLVERS[name].partition(":")
    return getattr(importlib.import_module(module), function)


def solver_options(name: str) -> dict[str, Option]:
    """Return the options of a solver, in the order of its signature."""
    function = find_solver(name)
    hints = typing.get_type_hints(function)
    texts = _argument_texts(inspect.getdoc(function) or "")
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: _option(p.name, hints[p.name], p.default, texts.get(p.name, ""))
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }


def full_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return every option of a solver with its value: the given ones, checked, and the defaults."""
    options = solver_options(name)
    for key in given:
        if key not in options:
            raise ValueError(_unknown(f"option of {name}", key, options))
    return {key: o.parse(given[key]) if key in given else o.default for key, o in options.items()}


def default_batch(name: str) -> int:
    """Return how many samples a solver makes at once when nothing else is asked for."""
    module = inspect.getmodule(find_solver(name))
    return getattr(module, "BATCH", _DEFAULT_BATCH)


def makes_series(name: str) -> bool:
    """Return whether a solver's results are series, which may be written as tables."""
    return bool(getattr(inspect.getmodule(find_solver(name)), "SERIES", False))


def makes_demonstrations(name: str) -> bool:
    """Return whether a solver's samples are demonstrations, in a file of episodes."""
    return bool(getattr(inspect.getmodule(find_solver(name)), "DEMONSTRATIONS", False))


def makes_rows(name: str) -> bool:
    """Return whether a solver's samples are rows of one table."""
    return bool(getattr(inspect.getmodule(find_solver(name)), "ROWS", False))


def makes_trajectory(name: str) -> bool:
    """Return whether a solver's samples are frames of atoms, each made from the one before."""
    return bool(getattr(inspect.getmodule(find_solver(name)), "TRAJECTORY", False))


def points_description(name: str) -> PointsDescription | None:
    """Return what describes a solver's samples when they are on meshes, each made by itself."""
    return getattr(inspect.getmodule(find_solver(name)), "POINTS", None)


def pictures_set(name: str) -> str | None:
    """Return the keypoint set of a solver's samples when they are pictures, in a folder."""
    return getattr(inspect.getmodule(find_solver(name)), "PICTURES", None)


def summary(name: str) -> str:
    """Return the first line of a solver's docstring."""
    return (inspect.getdoc(find_solver(name)) or "").partition("\n")[0]


def _option(name: str, hint: Any, default: Any, text: str) -> Option:
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    if optional:
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    choices: tuple[str, ...] = ()
    if typing.get_origin(hint) is typing.Literal:
        choices, hint = typing.get_args(hint), str
    return Option(name, hint, choices, optional, default, text)


def _argument_texts(doc: str) -> dict[str, str]:
    """Return the descriptions in the `Args:` section of a Google-style docstring."""
    section = doc.partition("\nArgs:\n")[2].split("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _unknown(what: str, given: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, valid, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"valid: {', '.join(valid)}"
    return f"unknown {what} {given!r}: {hint}"
