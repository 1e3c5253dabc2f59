"""What an agent is measured by in a kind of worlds: it acts, beside what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor

from surform.data.decisions_bandit_setting import BanditSetting
from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_description import DecisionsDescription
from surform.data.decisions_mdp_setting import MdpSetting
from surform.decisions.agent import Agent
from surform.decisions.regret import regrets
from surform.decisions.returns import returns

__all__ = ["BanditScores", "MdpScores", "Played", "Scores", "scores_of"]


@dataclass(frozen=True)
class Played:
    """Figures of each world (B,), by name; those of the algorithms compared; curves (B, n)."""

    figures: dict[str, Tensor]
    compared: tuple[str, ...] = ()
    curves: dict[str, Tensor] = field(default_factory=dict)


class Scores(Protocol):
    """Measures of one kind of worlds."""

    names: ClassVar[tuple[str, ...]]  # of the agent's own figures

    def play(self, batch: DecisionBatch) -> Played:
        """What comes of acting in the batch's worlds."""
        ...

    def ratios(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """Figures of a whole split from the means over its worlds."""
        ...


class BanditScores:
    """Regret after all rounds, of the agent and of the algorithms, with the same luck."""

    names: ClassVar[tuple[str, ...]] = ("regret", "greedy_regret", "accuracy")

    def __init__(self, agent: Agent, setting: BanditSetting, rounds: int) -> None:
        self.agent, self.setting, self.rounds = agent, setting, rounds

    def play(self, batch: DecisionBatch) -> Played:
        seed = int(batch.index[0])  # the same luck in every epoch
        curves = regrets(self.agent, self.setting, batch.world, self.rounds, seed)
        ends = {name: curve[:, -1] for name, curve in curves.items()}
        figures = {"regret": ends.pop("agent"), "greedy_regret": ends.pop("greedy")}
        compared = {f"{name}_regret": value for name, value in ends.items()}
        return Played(figures | compared, tuple(compared), curves)

    def ratios(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        if not {"regret", "thompson_regret"} <= set(means):
            return {}
        return {"regret_over_thompson": means["regret"] / means["thompson_regret"]}


class MdpScores:
    """Return of the last of some episodes, of the agent and of the algorithms."""

    names: ClassVar[tuple[str, ...]] = ("return", "first_return", "accuracy")

    def __init__(self, agent: Agent, setting: MdpSetting, rounds: int, episodes: int) -> None:
        self.agent, self.setting = agent, setting
        self.rounds, self.episodes = rounds, episodes

    def play(self, batch: DecisionBatch) -> Played:
        seed = int(batch.index[0])
        curves = returns(self.agent, self.setting, batch.world, self.rounds, self.episodes, seed)
        figures = {"return": curves["agent"][:, -1], "first_return": curves["agent"][:, 0]}
        compared = {f"{n}_return": c[:, -1] for n, c in curves.items() if n != "agent"}
        return Played(figures | compared, tuple(compared), curves)

    def ratios(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        return {}


def scores_of(agent: Agent, about: DecisionsDescription) -> Scores:
    """The measures for the worlds that an agent is trained or tested in."""
    setting = about.setting
    if isinstance(setting, MdpSetting):
        return MdpScores(agent, setting, about.rounds, about.episodes)
    return BanditScores(agent, setting, about.rounds)
