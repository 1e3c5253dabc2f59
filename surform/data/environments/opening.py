"""Open an environment by a name, a class or a Gymnasium id."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.environments import ENVIRONMENTS
from surform.data.environments.off_screen import load_triton_first
from surform.data.faults import closest, first_line

__all__ = ["EnvironmentSource", "open_environment", "tasks_of"]


@dataclass(frozen=True)
class EnvironmentSource:
    """What opens an environment, in this or in another process.

    Attributes:
        name: of this package ("point-reach"), "module:Class", or an id that Gymnasium knows.
        task: passed on as `task`; None: the environment's own.
        options: further arguments: plain values.
        films: whether pictures shall be rendered.
    """

    name: str
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    films: bool = False

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.name} ({self.task})" if self.task else self.name


def open_environment(source: EnvironmentSource) -> Any:
    """The environment.

    Raises:
        ValueError: there is none of that name, or it does not take its arguments.
        ImportError: its package is not installed.
    """
    given = dict(source.options) | ({"task": source.task} if source.task is not None else {})
    if source.name not in ENVIRONMENTS and ("torch" in sys.modules or "MUJOCO_GL" in os.environ):
        load_triton_first()  # whatever draws in there
    if source.name in ENVIRONMENTS or ":" in source.name:
        kind = _class(ENVIRONMENTS.get(source.name, source.name))
        if source.films and "render_mode" in inspect.signature(kind).parameters:
            given.setdefault("render_mode", "rgb_array")
        return _made(kind, given, source)
    names = closest(source.name, ENVIRONMENTS)
    unknown = f"unknown environment {source.name!r}: {names}, and module:Class"
    try:
        gymnasium = importlib.import_module("gymnasium")
    except ImportError as error:
        raise ImportError(
            f'{unknown}; ids of Gymnasium need gymnasium: pip install "surform[robotics]"'
        ) from error
    if source.films:
        given.setdefault("render_mode", "rgb_array")
    try:
        gymnasium.spec(source.name)
    except gymnasium.error.Error as error:
        raise ValueError(f"{unknown}; Gymnasium: {first_line(error)}") from error
    # its checks write to the screen at every step, and cost half the speed
    return _made(gymnasium.make, {"disable_env_checker": True, **given}, source, source.name)


def tasks_of(name: str, tasks: list[str] | None) -> list[str | None]:
    """The tasks to run: those given, "mt10" for all of Meta-World's ten, or one unnamed.

    Raises:
        ValueError: a task is named twice, or one must be named.
    """
    from surform.data.environments.metaworld import MT10

    given = [word for item in tasks or [] for word in item.split(",") if word]
    named = [each for word in given for each in (MT10 if word == "mt10" else (word,))]
    if len(set(named)) < len(named):
        raise ValueError(f"a task is named twice: {', '.join(named)}")
    if not named and name == "metaworld":
        raise ValueError(
            f"metaworld has fifty tasks: name some, as {MT10[0]} or {MT10[1]}, or mt10 for the "
            "ten of that benchmark"
        )
    if not named and name in ENVIRONMENTS:
        return list(_class(ENVIRONMENTS[name]).TASKS)
    return list(named) or [None]


def _class(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ValueError(f"no environment {path!r}: there is no module {error.name!r}") from error
    except AttributeError as error:
        raise ValueError(f"no environment {path!r}: {module} has no {attribute!r}") from error


def _made(kind: Any, given: dict[str, Any], source: EnvironmentSource, *first: Any) -> Any:
    try:
        return kind(*first, **given)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ValueError(f"{source.label} cannot be opened so: {first_line(error)}") from error
