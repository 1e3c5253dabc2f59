"""Return of episode after episode: an agent and those it is compared with, in the same worlds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from surform.data.decisions_explorers import Explorer, episode
from surform.data.decisions_mdp_setting import MdpSetting
from surform.data.decisions_mdps import Worlds
from surform.decisions.agent import Agent
from surform.decisions.explorer import InContextExplorer

__all__ = ["episode_returns", "returns"]


def episode_returns(
    explorer: Explorer, worlds: Worlds, episodes: int, generator: Generator
) -> Tensor:
    """(B, episodes): the sum of rewards in each."""
    explorer.begin(worlds, generator)
    found = [episode(explorer, worlds, generator).rewards.sum(1) for _ in range(episodes)]
    return torch.stack(found, 1)


def returns(
    agent: Agent, setting: MdpSetting, worlds: Any, rounds: int, episodes: int, seed: int
) -> dict[str, Tensor]:
    """(B, episodes) of the agent and of all explorers.

    Args:
        rounds: the longest context of the agent, transitions.
        seed: of worlds' luck and all choices.
    """
    explorers: dict[str, Explorer] = {
        "agent": InContextExplorer(agent.net, rounds),
        **{name: setting.explorer(name) for name in setting.explorers},
    }
    found, there = {}, worlds.to("cpu")
    for number, (name, explorer) in enumerate(explorers.items()):
        words = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0]))
        found[name] = episode_returns(explorer, there, episodes, generator)
    return found
