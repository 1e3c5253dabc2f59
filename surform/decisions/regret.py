"""Regret over the rounds: an agent and those it is compared with, in the same bandits and luck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from surform.data.decisions_bandit_setting import BanditSetting
from surform.data.decisions_bandits import Bandits
from surform.data.decisions_players import Player, play
from surform.decisions.agent import Agent

__all__ = ["cumulative_regret", "regrets"]


def cumulative_regret(
    player: Player, bandits: Bandits, luck: Tensor, generator: Generator
) -> Tensor:
    """(B, n): what the player has lost in the mean after 1, 2, ..., n rounds of luck (B, n)."""
    return bandits.regret(play(player, bandits, luck, generator).actions).cumsum(1)


def regrets(
    agent: Agent,
    setting: BanditSetting,
    bandits: Bandits,
    rounds: int,
    seed: int,
    temperatures: Sequence[float] = (),
) -> dict[str, Tensor]:
    """Cumulative regret (B, rounds) of the agent, of its most probable arm, and of all players.

    Rewards depend on bandit, round and arm alone: all of them meet the same luck.

    Args:
        seed: of the luck and the choices.
        temperatures: at which the agent plays too, as "agent at 0.8".
    """
    generator = _generator(seed, 0, bandits)
    luck = bandits.luck(rounds, generator)
    players: dict[str, Player] = {
        "agent": agent.player(),
        "greedy": agent.player(greedy=True),
        **{name: setting.player(name) for name in setting.players},
        **{f"agent at {value:g}": agent.player(temperature=value) for value in temperatures},
    }
    return {
        name: cumulative_regret(player, bandits, luck, _generator(seed, number, bandits))
        for number, (name, player) in enumerate(players.items(), 1)
    }


def _generator(seed: int, number: int, bandits: Bandits) -> Generator:
    words = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    return torch.Generator(bandits.means.device).manual_seed(int(words[0]))
