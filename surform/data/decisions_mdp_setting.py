"""Worlds with states as a setting: contexts to learn from, and who acts in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_explorers import Anywhere, Explorer, Seen, episode
from surform.data.decisions_mdps import Worlds
from surform.data.decisions_shares import divided

__all__ = ["MdpSetting"]


class MdpSetting:
    """Worlds with states and episodes.

    Args:
        name: of the kind, for messages.
        draw: makes worlds from a number, a generator and `options`.
        explorers: who may collect and is compared, by name.
        actions, state_dim: of the worlds, as networks see them.
    """

    features = 0
    believer = None  # who knows a posterior: nobody
    curve = "return of an episode"

    def __init__(
        self,
        name: str,
        draw: Callable[..., Any],
        explorers: Mapping[str, Callable[[], Explorer]],
        actions: int,
        state_dim: int,
        options: dict[str, Any],
    ) -> None:
        self.name, self.options, self.explorers = name, options, dict(explorers)
        self.actions, self.state_dim = actions, state_dim
        self.collectors = ("anywhere", *explorers)
        self._draw = draw

    def draw(self, count: int, generator: Generator, dtype: torch.dtype) -> Any:
        return self._draw(count, generator, **self.options)

    def explorer(self, name: str) -> Explorer:
        """An explorer by name, new."""
        return Anywhere() if name == "anywhere" else self.explorers[name]()

    def collect(
        self, world: Any, shares: Mapping[str, float], rounds: int, generator: Generator
    ) -> DecisionBatch:
        query, moment = world.anywhere(generator)
        parts = []
        for name, which in divided(len(world), shares, generator):
            some = world.map(lambda tensor, which=which: tensor[which])
            found = context(self.explorer(name), some, rounds, generator)
            parts.append((which, found))
        order = torch.cat([which for which, _ in parts]).argsort()
        seen = Seen(*(torch.cat(each)[order] for each in zip(*(s for _, s in parts), strict=True)))
        return DecisionBatch(
            query=world.look(query, moment),
            states=looks(world, seen.states, seen.steps),
            actions=seen.actions,
            next_states=looks(world, seen.next_states, seen.steps + 1),
            rewards=seen.rewards,
            optimal=world.best(query, moment),
            world=world,
            index=torch.arange(len(world)),
        )

    def chances(self, batch: DecisionBatch, draws: int, generator: Generator) -> Tensor:
        """ValueError: the posterior is not known here."""
        raise ValueError(f"the posterior of {self.name} is not known")

    def sentence(self) -> str:
        return f"{self.name.replace('_', ' ')}s with {self.actions} actions"


def context(explorer: Explorer, worlds: Worlds, rounds: int, generator: Generator) -> Seen:
    """The first `rounds` transitions of an explorer's episodes, or transitions from anywhere."""
    explorer.begin(worlds, generator)
    if isinstance(explorer, Anywhere):
        return _from_anywhere(explorer, worlds, rounds, generator)
    episodes = [episode(explorer, worlds, generator) for _ in range(-(-rounds // worlds.steps))]
    return Seen(*(torch.cat(each, 1)[:, :rounds] for each in zip(*episodes, strict=True)))


def looks(worlds: Worlds, states: Tensor, steps: Tensor) -> Tensor:
    """(B, n, S): states (B, n) at steps (B, n) as networks see them."""
    return torch.stack(
        [worlds.look(state, step) for state, step in zip(states.T, steps.T, strict=True)], 1
    )


def _from_anywhere(explorer: Explorer, worlds: Worlds, rounds: int, generator: Generator) -> Seen:
    parts = []
    for _ in range(rounds):
        state, step = worlds.anywhere(generator)
        action = explorer.choose(state, 0)
        following, reward = worlds.step(state, action, generator)
        parts.append((state, action, following, reward, step))
    return Seen(*(torch.stack(part, 1) for part in zip(*parts, strict=True)))
