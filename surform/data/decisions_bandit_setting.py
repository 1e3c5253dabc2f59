"""Bandits as a setting: contexts to learn from, and who plays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandits import Bandits
from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_players import Player, Rounds, Skewed, play
from surform.data.decisions_posterior import Believer, beliefs
from surform.data.decisions_shares import divided

__all__ = ["BanditSetting"]


class BanditSetting:
    """Bandits: rewards are all there is.

    Args:
        name: of the kind, for messages.
        draw: makes bandits from a number, a generator and `options`.
        players: who may collect and is compared, by name.
        actions, features: arms, and numbers that describe each.
        believer: knows the posterior of bandits drawn so; None: it has no closed form.
    """

    state_dim = 1
    curve = "cumulative regret"

    def __init__(
        self,
        name: str,
        draw: Callable[..., Bandits],
        players: Mapping[str, Callable[[], Player]],
        actions: int,
        features: int,
        options: dict[str, Any],
        believer: Callable[[], Believer] | None = None,
    ) -> None:
        self.name, self.options, self.players = name, options, dict(players)
        self.actions, self.features, self.believer = actions, features, believer
        self.collectors = (*players, "skewed")
        self._draw = draw

    def draw(self, count: int, generator: Generator, dtype: torch.dtype) -> Bandits:
        return self._draw(count, generator, dtype=dtype, **self.options)

    def player(self, name: str) -> Player:
        """A player by name, new."""
        return Skewed() if name == "skewed" else self.players[name]()

    def collect(
        self, world: Bandits, shares: Mapping[str, float], rounds: int, generator: Generator
    ) -> DecisionBatch:
        luck = world.luck(rounds, generator)
        actions = torch.empty(luck.shape, dtype=torch.int64)
        rewards = torch.empty_like(luck)
        for name, which in divided(len(world), shares, generator):
            found = play(self.player(name), world.rows(which), luck[which], generator)
            actions[which], rewards[which] = found.actions, found.rewards
        one = rewards.new_ones(1, 1)
        states = one.unsqueeze(0).expand(len(world), rounds, 1)
        return DecisionBatch(
            query=one.expand(len(world), 1),
            states=states,
            actions=actions,
            next_states=states,
            rewards=rewards,
            optimal=world.best,
            world=world,
            index=torch.arange(len(world)),
        )

    def chances(self, batch: DecisionBatch, draws: int, generator: Generator) -> Tensor:
        """(B, n + 1, A): P(best arm | history) from so many samples, after 0, 1, ..., n rounds.

        Raises:
            ValueError: bandits whose posterior has no closed form.
        """
        if self.believer is None:
            raise ValueError(f"the posterior of {self.name} with {self.options} has no closed form")
        seen = Rounds(batch.actions, batch.rewards)
        return beliefs(self.believer(), batch.world, seen, draws, generator)

    def sentence(self) -> str:
        return f"{self.name.replace('_', ' ')}s of {self.actions} arms"
