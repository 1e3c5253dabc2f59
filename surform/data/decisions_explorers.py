"""Who acts in worlds with states: the interface, episodes, and players to learn from or compare."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from surform.data.decisions_mdps import Worlds

__all__ = ["UCBVI", "Anywhere", "Explorer", "Optimal", "RandomWalk", "Seen", "episode"]


class Seen(NamedTuple):
    """Transitions (B, n): numbers of states, actions, next states; rewards; steps."""

    states: Tensor
    actions: Tensor
    next_states: Tensor
    rewards: Tensor
    steps: Tensor


class Explorer(Protocol):
    """Acts in many worlds at once, episode after episode."""

    def begin(self, worlds: Worlds, generator: Generator) -> None:
        """Forget everything; sizes only may be read off `worlds`."""

    def choose(self, state: Tensor, step: int) -> Tensor:
        """(B,): what to do in these states at this step of the episode."""
        ...

    def learn(self, seen: Seen) -> None:
        """What an episode showed."""


def episode(explorer: Explorer, worlds: Worlds, generator: Generator) -> Seen:
    """One episode of every world; the explorer then learns from it."""
    state = worlds.begin(generator)
    parts = []
    for step in range(worlds.steps):
        action = explorer.choose(state, step)
        following, reward = worlds.step(state, action, generator)
        parts.append((state, action, following, reward, torch.full_like(state, step)))
        state = following
    seen = Seen(*(torch.stack(part, 1) for part in zip(*parts, strict=True)))
    explorer.learn(seen)
    return seen


class RandomWalk:
    """Every action with the same probability."""

    def begin(self, worlds: Worlds, generator: Generator) -> None:
        self._actions, self._generator = worlds.actions, generator

    def choose(self, state: Tensor, step: int) -> Tensor:
        return torch.randint(self._actions, state.shape, generator=self._generator)

    def learn(self, seen: Seen) -> None:
        """Nothing is learnt."""


class Anywhere(RandomWalk):
    """Any action in any state: what a context is where every transition can be asked for."""


class Optimal:
    """Knows the worlds: what all others are measured by."""

    def begin(self, worlds: Worlds, generator: Generator) -> None:
        self._worlds = worlds

    def choose(self, state: Tensor, step: int) -> Tensor:
        return self._worlds.best(state, torch.full_like(state, step))

    def learn(self, seen: Seen) -> None:
        """Nothing is learnt."""


class UCBVI:
    """Optimistic value iteration on counted transitions.

    Azar, Osband, Munos, "Minimax Regret Bounds for Reinforcement Learning", 2017 (arXiv
    1703.05449), algorithm 1 with Hoeffding bonuses H sqrt(log(S A n) / N), times `scale`. Values
    are cut at what is left of the episode; pairs that were never tried are worth that.
    """

    def __init__(self, scale: float = 0.1) -> None:
        if not scale >= 0:
            raise ValueError(f"scale is {scale}, but must not be negative")
        self.scale = scale

    def begin(self, worlds: Worlds, generator: Generator) -> None:
        b, s, a = len(worlds), worlds.states, worlds.actions
        self._pulls = torch.zeros(b, s, a, s, dtype=torch.float64)
        self._gains = torch.zeros(b, s, a, dtype=torch.float64)
        self._steps, self._episodes = worlds.steps, 0
        self._plan()

    def choose(self, state: Tensor, step: int) -> Tensor:
        return self._policy[torch.arange(len(state)), step, state]

    def learn(self, seen: Seen) -> None:
        b, s, a = self._gains.shape
        pair = seen.states * a + seen.actions
        ones = torch.ones(seen.rewards.shape, dtype=torch.float64)
        self._pulls.view(b, -1).scatter_add_(1, pair * s + seen.next_states, ones)
        self._gains.view(b, -1).scatter_add_(1, pair, seen.rewards.double())
        self._episodes += 1
        self._plan()

    def _plan(self) -> None:
        tried = self._pulls.sum(-1)
        count = tried.clamp(min=1)
        chances, reward = self._pulls / count.unsqueeze(-1), self._gains / count
        _, s, a = tried.shape
        steps = torch.tensor(s * a * max(self._episodes, 1) * self._steps, dtype=torch.float64)
        bonus = self.scale * self._steps * (steps.log() / count).sqrt()
        value = torch.zeros_like(tried[..., 0])
        policy = []
        for left in range(1, self._steps + 1):
            quality = reward + bonus + torch.einsum("bsat,bt->bsa", chances, value)
            quality = quality.clamp(max=left).masked_fill(tried == 0, left)
            value, action = quality.max(-1)
            policy.append(action)
        self._policy = torch.stack(policy[::-1], 1)
