"""Who plays bandits: the interface, the game, and players that need no posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandits import Bandits

__all__ = ["UCB", "EmpiricalMean", "Player", "Rounds", "Skewed", "Uniform", "play"]


class Player(Protocol):
    """Plays many bandits at once, one arm of each in a round."""

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        """Forget everything; only the looks of the arms and the noise may be read off `bandits`."""

    def choose(self) -> Tensor:
        """(B,) int64: the arms to pull now."""
        ...

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        """What came of pulling arms (B,): rewards (B,)."""


@dataclass(frozen=True)
class Rounds:
    """What was done, (B, n) int64, and what came of it, (B, n)."""

    actions: Tensor
    rewards: Tensor


def play(player: Player, bandits: Bandits, luck: Tensor, generator: Generator) -> Rounds:
    """As many rounds as there is luck, (B, n).

    Args:
        generator: of the player's own choices.
    """
    player.begin(bandits, luck.shape[1], generator)
    actions, rewards = [], []
    for now in luck.unbind(1):
        chosen = player.choose()
        gained = bandits.reward(chosen, now)
        player.learn(chosen, gained)
        actions.append(chosen)
        rewards.append(gained)
    return Rounds(torch.stack(actions, 1), torch.stack(rewards, 1))


class Uniform:
    """Every arm with the same probability."""

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        self._like, self._generator = bandits.means, generator

    def choose(self) -> Tensor:
        count, arms = self._like.shape
        return torch.randint(
            arms, (count,), generator=self._generator, device=self._generator.device
        )

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        """Nothing is learnt."""


class Skewed:
    """Arms with probabilities (1 - c) p + c e: p ~ Dirichlet(1), e any arm, c = 0, 0.1, ..., 1.

    How DPT's contexts of bandits are collected (arXiv 2306.14892, section 5).
    """

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        count, arms = bandits.means.shape
        like = {"device": bandits.means.device, "generator": generator}
        spread = -torch.rand(count, arms, dtype=torch.float64, **like).clamp(min=1e-300).log()
        share = torch.randint(11, (count, 1), **like) / 10
        one = torch.nn.functional.one_hot(torch.randint(arms, (count,), **like), arms)
        self._chances = (1 - share) * spread / spread.sum(-1, keepdim=True) + share * one
        self._generator = generator

    def choose(self) -> Tensor:
        return torch.multinomial(self._chances, 1, generator=self._generator).squeeze(1)

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        """Nothing is learnt."""


class _Counting:
    """Counts pulls and adds up rewards of each arm."""

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        self._pulls = torch.zeros_like(bandits.means)
        self._sums = torch.zeros_like(bandits.means)

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        where = actions.unsqueeze(1)
        self._pulls.scatter_add_(1, where, torch.ones_like(rewards).unsqueeze(1))
        self._sums.scatter_add_(1, where, rewards.unsqueeze(1))


class EmpiricalMean(_Counting):
    """Every arm once, then the one with the best mean so far."""

    def choose(self) -> Tensor:
        means = self._sums / self._pulls.clamp(min=1)
        return means.masked_fill(self._pulls == 0, torch.inf).argmax(-1)


class UCB(_Counting):
    """The largest s / (1 + n) + (1 + n)^-1/2 for n pulls with rewards s in all.

    The index of "Transformers as Decision Makers" for Bernoulli arms (arXiv 2310.08566).
    """

    def choose(self) -> Tensor:
        pulls = 1 + self._pulls
        return (self._sums / pulls + pulls.rsqrt()).argmax(-1)
