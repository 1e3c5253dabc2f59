"""Demonstrations in files of any layout: episodes of what was observed and done, step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from surform.data.faults import closest

__all__ = ["About", "Column", "Demonstrations", "Episode", "JoinedDemonstrations"]


@dataclass(frozen=True)
class Column:
    """One observation of every step.

    Args:
        shape: of a step: (n,), or (height, width, 3) of an image in pixels.
        kind: numbers in float32, or an image in uint8.
        stored: "rows", which are read alone, "packed", which must be unpacked first: JPEG, PNG,
            video, many steps compressed together.
    """

    shape: tuple[int, ...]
    kind: Literal["numbers", "image"]
    stored: Literal["rows", "packed"] = "rows"


@dataclass(frozen=True)
class Episode:
    """One demonstration.

    Args:
        name: in its file.
        steps: how many actions there are.
        task: "" where the file does not say.
        instruction: what the robot is told; "" likewise.
    """

    name: str
    steps: int
    task: str = ""
    instruction: str = ""

    @property
    def told(self) -> str:
        """The instruction, or the name of the task where there is none."""
        return self.instruction or self.task


@dataclass(frozen=True)
class About:
    """What a source says of all its episodes.

    Args:
        columns: observations by name.
        actions: numbers in an action.
        action_names: of them; () where the file does not say.
        fps: steps in a second; None likewise.
        environment: what made them: env_name, env_kwargs, ...
        masks: names of lists of episodes -> numbers of these.
        rewards: whether "reward" can be read, too.
        source: provenance.
        left_out: arrays beside the observations that are not read -> why.
    """

    columns: Mapping[str, Column]
    actions: int
    action_names: tuple[str, ...] = ()
    fps: float | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    rewards: bool = False
    source: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


class Demonstrations(ABC):
    """Episodes of one file or folder.

    Attributes:
        name: path, for messages.
        episodes: in the order of the file; each has at least one step.
        about: what holds for all of them.
    """

    name: str
    episodes: Sequence[Episode]
    about: About

    @abstractmethod
    def read(self, episode: int, name: str, begin: int, end: int) -> np.ndarray:
        """Steps begin..end-1 of an observation, "action" or "reward": (n, ...) float32, or uint8.

        Raises:
            ValueError, OSError: what is there cannot be read; says where.
        """

    def files(self) -> list[str]:
        """The files that the numbers come from."""
        return [self.name]

    def column(self, name: str) -> Column:
        """ValueError, with what there is, for a name that is unknown."""
        if name in self.about.left_out:
            there = ", ".join(self.about.columns) or "nothing else"
            raise ValueError(
                f"{name} of {self.name} is left out: {self.about.left_out[name]}; there is {there}"
            )
        if name not in self.about.columns:
            raise ValueError(
                f"{self.name} has no observation {name!r}: {closest(name, self.about.columns)}"
            )
        return self.about.columns[name]

    def place(self, episode: int, step: int | None = None) -> str:
        """An episode, or a step of it, for messages."""
        where = f"{self.name}, {self.episodes[episode].name}"
        return where if step is None else f"{where}, step {step}"


class JoinedDemonstrations(Demonstrations):
    """Several sources, one behind the other.

    Raises:
        ValueError: observations or actions that are not alike in all of them.
    """

    def __init__(self, sources: Sequence[Demonstrations]) -> None:
        first = sources[0]
        self.name = f"{first.name} and {len(sources) - 1} more"
        self.sources = list(sources)
        self._starts = np.cumsum([0, *(len(each.episodes) for each in sources)])
        self.episodes = [episode for each in sources for episode in each.episodes]
        for other in sources[1:]:
            _require_alike(first, other)
        columns = {
            name: column
            for name, column in first.about.columns.items()
            if all(name in other.about.columns for other in sources)
        }
        left_out = {
            name: f"{other.name} lacks it"
            for each in sources
            for name in each.about.columns
            for other in sources
            if name not in other.about.columns
        }
        packed = {
            name: next((c for c in found if c.stored == "packed"), found[0])
            for name in columns
            for found in [[each.about.columns[name] for each in sources]]
        }
        names = {mask for each in sources for mask in each.about.masks}
        masks = {
            mask: np.concatenate(
                [
                    each.about.masks[mask] + start
                    for each, start in zip(sources, self._starts, strict=False)
                    if mask in each.about.masks
                ]
            )
            for mask in sorted(names)
        }
        about = first.about
        self.about = About(
            packed, about.actions, about.action_names, about.fps, about.environment, masks,
            all(each.about.rewards for each in sources), about.source,
            {n: why for each in sources for n, why in each.about.left_out.items()} | left_out,
        )  # fmt: skip

    def read(self, episode: int, name: str, begin: int, end: int) -> np.ndarray:
        source, own = self._find(episode)
        return source.read(own, name, begin, end)

    def files(self) -> list[str]:
        return [path for each in self.sources for path in each.files()]

    def place(self, episode: int, step: int | None = None) -> str:
        source, own = self._find(episode)
        return source.place(own, step)

    def _find(self, episode: int) -> tuple[Demonstrations, int]:
        which = int(np.searchsorted(self._starts, episode, side="right")) - 1
        return self.sources[which], episode - int(self._starts[which])


def _require_alike(first: Demonstrations, other: Demonstrations) -> None:
    one, two = first.about, other.about
    if one.actions != two.actions:
        raise ValueError(
            f"actions have {two.actions} numbers in {other.name}, but {one.actions} in {first.name}"
        )
    if None not in (one.fps, two.fps) and one.fps != two.fps:
        raise ValueError(
            f"{other.name} has {two.fps:g} steps in a second, but {first.name} {one.fps:g}"
        )
    for name, column in one.columns.items():
        found = two.columns.get(name)
        if found is not None and (found.shape, found.kind) != (column.shape, column.kind):
            raise ValueError(
                f"{name} has the shape {found.shape} in {other.name}, but {column.shape} in "
                f"{first.name}"
            )
