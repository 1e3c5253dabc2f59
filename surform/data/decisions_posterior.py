"""How probable it is that each arm is the best, given what was seen: labels without luck.

The best arm of a drawn bandit is one sample of the posterior P(best arm | history). Its
probabilities are the mean of that sample: trained on them, a network has the same optimum, and
gradients of less variance (Rao and Blackwell). They need the family that bandits are drawn from.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandits import Bandits
from surform.data.decisions_players import Player, Rounds

__all__ = ["Believer", "beliefs", "shares"]


class Believer(Player, Protocol):
    """A player that knows the posterior."""

    def chances(self, draws: int) -> Tensor:
        """(B, A): the share of so many samples of the posterior in which each arm is the best."""
        ...


def beliefs(
    player: Believer, bandits: Bandits, seen: Rounds, draws: int, generator: Generator
) -> Tensor:
    """(B, n + 1, A): chances of the arms after 0, 1, ..., n rounds that anybody has played.

    Args:
        draws: samples of the posterior, in every bandit after every round.
        generator: of the samples.
    """
    rounds = seen.actions.shape[1]
    player.begin(bandits, rounds, generator)
    found = [player.chances(draws)]
    for actions, rewards in zip(seen.actions.unbind(1), seen.rewards.unbind(1), strict=True):
        player.learn(actions, rewards)
        found.append(player.chances(draws))
    return torch.stack(found, 1)


def shares(choices: Tensor, actions: int) -> Tensor:
    """Choices (B, n) int64 -> (B, actions) float64: how often each was made, of 1."""
    ones = torch.ones(choices.shape, dtype=torch.float64, device=choices.device)
    counts = ones.new_zeros(len(choices), actions).scatter_add_(1, choices, ones)
    return counts / choices.shape[1]
