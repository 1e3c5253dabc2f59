"""What an environment shows and takes, as named arrays; checked where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Facts", "facts_of", "named"]


@dataclass(frozen=True)
class Facts:
    """What is known of an environment before its first episode.

    Attributes:
        action_size: numbers in an action; low, high: their bounds (action_size,), may be infinite.
        observations: shape and dtype of each, by name.
        instruction: what it says is to be done; None: nothing.
        fps: steps in a second of its time.
        renders: whether `render` gives pictures.
    """

    action_size: int
    low: np.ndarray
    high: np.ndarray
    observations: Mapping[str, tuple[tuple[int, ...], str]]
    instruction: str | None
    fps: float
    renders: bool


def facts_of(environment: Any) -> Facts:
    """Read the spaces of an environment.

    Raises:
        ValueError: spaces that no policy of this package acts in.
    """
    space = environment.action_space
    if getattr(space, "low", None) is None or len(space.shape) != 1:
        raise ValueError(f"actions must be vectors of numbers between bounds, but are {space}")
    spaces = getattr(environment.observation_space, "spaces", None)
    if spaces is None:
        only = environment.observation_space
        spaces = {_name(only.shape or ()): only}
    elif not isinstance(spaces, Mapping):
        raise ValueError(f"observations must be a Box or a Dict of them, but are {spaces}")
    for name, each in spaces.items():
        if getattr(each, "low", None) is None:
            raise ValueError(f"the observation {name!r} must be a Box, but is {each}")
    mode = getattr(environment, "render_mode", None)
    return Facts(
        action_size=space.shape[0],
        low=np.asarray(space.low, np.float64),
        high=np.asarray(space.high, np.float64),
        observations={n: (tuple(s.shape), np.dtype(s.dtype).name) for n, s in spaces.items()},
        instruction=_attribute(environment, "instruction"),
        fps=float((getattr(environment, "metadata", None) or {}).get("render_fps") or 10),
        renders=mode == "rgb_array",
    )


def named(observation: Any) -> dict[str, np.ndarray]:
    """An observation as arrays by name; a single one is "state", or "image" where it is one.

    Raises:
        ValueError: numbers that are not finite.
    """
    if not isinstance(observation, Mapping):
        array = np.asarray(observation)
        observation = {_name(array.shape): array}
    found = {name: np.asarray(value) for name, value in observation.items()}
    for name, value in found.items():
        if value.dtype.kind == "f":
            if not np.isfinite(value).all():
                raise ValueError(f"the observation {name!r} is not finite")
            found[name] = value.astype(np.float32)
    return found


def _name(shape: tuple[int, ...]) -> str:
    return "image" if len(shape) == 3 else "state"


def _attribute(environment: Any, name: str) -> Any:
    """Of the environment inside its wrappers."""
    inner = getattr(environment, "unwrapped", environment)
    return getattr(environment, name, None) or getattr(inner, name, None)
