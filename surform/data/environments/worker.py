"""The process that environments live in: it answers what the parent asks, until that is gone.

It imports little, to start fast, and no torch, whose triton does not bear software OpenGL.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from surform.data.child_process import follow_parent
from surform.data.environments.opening import EnvironmentSource, open_environment
from surform.data.environments.seen import Facts, facts_of, named
from surform.data.faults import first_line

__all__ = ["Fault", "Moment", "serve"]

_SUCCESS = ("success", "is_success")
_STEP = ("observation", "reward", "terminated", "truncated", "info")
_MEASURES = ("coverage",)  # beside success, of which the largest in an episode is kept


@dataclass(frozen=True)
class Moment:
    """What follows a reset or a step.

    Attributes:
        observation: arrays by name.
        told: what `info` says, as numbers: success, coverage.
        picture: (h, w, 3) uint8, where it is asked for.
        instruction: what is to be done, where the episode says so.
    """

    observation: dict[str, np.ndarray]
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    told: Mapping[str, float] | None = None
    picture: np.ndarray | None = None
    instruction: str | None = None


@dataclass(frozen=True)
class Fault:
    """An error that the environment of a row raised."""

    row: int
    text: str
    trace: str
    missing: bool = False  # a package is


def serve(connection: Connection) -> None:
    """Answer requests (command, argument) until the other end is closed."""
    follow_parent()
    rows = _Rows()
    while True:
        try:
            command, argument = connection.recv()
        except (EOFError, OSError):
            rows.close()
            return
        try:
            answer = getattr(rows, command)(argument)
        except Exception as error:  # environments raise what they like
            told = f"{type(error).__name__}: {first_line(error)}"
            plain = isinstance(error, (ValueError, ImportError, OSError))
            text = first_line(error) if plain else told
            missing = isinstance(error, ImportError)
            answer = Fault(rows.current, text, traceback.format_exc(), missing)
        try:
            connection.send(answer)
        except OSError:  # nobody listens any more
            return


class _Rows:
    """The environments of this process, by their rows in the batch."""

    def __init__(self) -> None:
        self.current = 0
        self._open: dict[int, tuple[EnvironmentSource, Any]] = {}
        self._filmed: dict[int, bool] = {}

    def open(self, sources: Mapping[int, EnvironmentSource]) -> dict[int, Facts]:
        """Open environments where others are, or none."""
        return {row: facts_of(self._opened(row, source)) for row, source in sources.items()}

    def begin(self, starts: Mapping[int, tuple[int, bool]]) -> dict[int, Moment]:
        """Reset; {row: (seed, whether it is filmed)}."""
        found = {}
        for row, (seed, filmed) in starts.items():
            self.current, self._filmed[row] = row, filmed
            answer = self._environment(row).reset(seed=seed)
            observation, info = _parts(answer, "reset", ("observation", "info"))
            found[row] = self._moment(row, observation, info)
        return found

    def step(self, actions: Mapping[int, np.ndarray]) -> dict[int, Moment]:
        """One step of each."""
        return {row: self._step(row, action) for row, action in actions.items()}

    def repeat(self, course: tuple[int, int, bool, list[np.ndarray]]) -> Moment:
        """Reset a row and do the same as before; (row, seed, filmed, actions)."""
        row, seed, filmed, actions = course
        moment = self.begin({row: (seed, False)})[row]
        for action in actions:
            moment = self._step(row, action)
        self._filmed[row] = filmed
        return moment

    def close(self) -> None:
        """Close all environments."""
        for _, environment in self._open.values():
            _close(environment)

    def _opened(self, row: int, source: EnvironmentSource) -> Any:
        self.current = row
        if row in self._open:
            before, environment = self._open[row]
            if before == source:
                return environment
            _close(environment)
            del self._open[row]
        environment = open_environment(source)
        self._open[row] = source, environment
        return environment

    def _environment(self, row: int) -> Any:
        return self._open[row][1]

    def _step(self, row: int, action: np.ndarray) -> Moment:
        self.current = row
        environment = self._environment(row)
        kind = environment.action_space.dtype
        answer = environment.step(action.astype(kind))
        observation, reward, ended, late, info = _parts(answer, "step", _STEP)
        return self._moment(row, observation, info, _number(reward), bool(ended), bool(late))

    def _moment(self, row: int, observation: Any, info: Mapping[str, Any], *rest: Any) -> Moment:
        picture = self._picture(row) if self._filmed[row] else None
        instruction = info.get("instruction")
        names = [n for n in (*_SUCCESS, *_MEASURES) if info.get(n) is not None]
        told = {name: float(np.max(info[name])) for name in names}
        return Moment(named(observation), *rest, told=told, picture=picture,
                      instruction=instruction)  # fmt: skip

    def _picture(self, row: int) -> np.ndarray:
        picture = np.asarray(self._environment(row).render())
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(
                f"render() gives {picture.dtype} of shape {picture.shape}, but a film needs uint8 "
                "(height, width, 3): open it with render_mode rgb_array, or film nothing"
            )
        return np.ascontiguousarray(picture)


def _parts(answer: Any, method: str, names: tuple[str, ...]) -> tuple[Any, ...]:
    """What `reset` or `step` returned; ValueError where it is not Gymnasium's tuple."""
    if isinstance(answer, tuple) and len(answer) == len(names):
        return answer
    found = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
    raise ValueError(
        f"{method}() must return ({', '.join(names)}), as in Gymnasium, but returns {found}"
    )


def _number(reward: Any) -> float:
    """A reward; some give an array of one number."""
    values = np.asarray(reward, np.float64)
    if values.size != 1:
        raise ValueError(f"the reward must be one number, but has the shape {values.shape}")
    return float(values.reshape(()))


def _close(environment: Any) -> None:
    """Some have nothing to close."""
    getattr(environment, "close", lambda: None)()
