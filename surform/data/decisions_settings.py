"""Kinds of worlds to decide in, by name, with their options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandit_setting import BanditSetting
from surform.data.decisions_bandits import bernoulli_bandits, gaussian_bandits, linear_bandits
from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_explorers import UCBVI, Optimal, RandomWalk
from surform.data.decisions_linucb import LinUCB
from surform.data.decisions_mdp_setting import MdpSetting
from surform.data.decisions_mdps import dark_rooms, tabular_mdps
from surform.data.decisions_players import UCB, EmpiricalMean, Uniform
from surform.data.decisions_thompson import BetaThompson, LinearThompson

__all__ = ["Setting", "make_setting", "setting_names"]


class Setting(Protocol):
    """One kind of world with its options; everything is drawn from the generators given."""

    name: str
    options: dict[str, Any]
    actions: int
    state_dim: int
    features: int  # of each action; 0 where actions have none
    collectors: tuple[str, ...]
    curve: str  # what acting is measured by
    believer: Any  # makes a `Believer`; None where there is no posterior in closed form

    def draw(self, count: int, generator: Generator, dtype: torch.dtype) -> Any:
        """So many worlds."""
        ...

    def collect(
        self, world: Any, shares: Mapping[str, float], rounds: int, generator: Generator
    ) -> DecisionBatch:
        """What collectors see in the worlds, each with its share of them."""
        ...

    def chances(self, batch: DecisionBatch, draws: int, generator: Generator) -> Tensor:
        """Probabilities that each action is the best; ValueError without a believer."""
        ...

    def sentence(self) -> str:
        """What a world is, in a few words."""
        ...


def setting_names() -> tuple[str, ...]:
    """All kinds of worlds."""
    return tuple(_SETTINGS)


def make_setting(values: Mapping[str, Any]) -> Any:
    """{"name": kind, option: value, ...} -> a `Setting`.

    Raises:
        ValueError: an unknown kind or option, or a value that cannot be.
    """
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(
            f"worlds need a name, {{name: {'|'.join(_SETTINGS)}, ...}}, got {values!r}"
        )
    name = values["name"]
    if name not in _SETTINGS:
        near = difflib.get_close_matches(str(name), _SETTINGS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose {', '.join(_SETTINGS)}"
        raise ValueError(f"there are no worlds called {name!r}: {hint}")
    make = _SETTINGS[name]
    options = {key: value for key, value in values.items() if key != "name"}
    known = [key for key in inspect.signature(make).parameters if key != "name"]
    for key in options:
        if key not in known:
            raise ValueError(f"{name} has no option {key!r}: there are {', '.join(known)}")
    return make(name, **options)


def _linear(
    name: str,
    actions: int = 10,
    features: int = 2,
    noise: float = 0.3,
    theta: str = "normal",
    arms: str = "shared",
    arms_seed: int = 0,
    prior: float | None = None,
) -> BanditSetting:
    """prior: of Thompson sampling; None: the deviation of theta where that is normal, else 1."""
    _at_least(2, actions=actions)
    _at_least(1, features=features)
    _at_least(0, arms_seed=arms_seed)
    true = features**-0.5 if theta == "normal" else 1.0
    deviation = true if prior is None else prior
    _positive(noise=noise, prior=deviation)
    _among("theta", theta, ("normal", "uniform"))
    _among("arms", arms, ("shared", "own"))
    options = {
        "actions": actions, "features": features, "noise": noise, "theta": theta, "arms": arms,
        "arms_seed": arms_seed,
    }  # fmt: skip
    players = {
        "thompson": partial(LinearThompson, deviation),
        "linucb": LinUCB,
        "uniform": Uniform,
    }
    believer = partial(LinearThompson, true) if theta == "normal" else None
    return BanditSetting(name, linear_bandits, players, actions, features, options, believer)


def _gaussian(name: str, actions: int = 5, noise: float = 0.3, prior: float = 1.0) -> BanditSetting:
    _at_least(2, actions=actions)
    _positive(noise=noise, prior=prior)
    players = {
        "thompson": partial(LinearThompson, prior),
        "linucb": LinUCB,
        "empirical_mean": EmpiricalMean,
        "uniform": Uniform,
    }
    options = {"actions": actions, "noise": noise}
    return BanditSetting(name, gaussian_bandits, players, actions, actions, options)


def _bernoulli(name: str, actions: int = 5) -> BanditSetting:
    _at_least(2, actions=actions)
    players = {
        "thompson": BetaThompson,
        "ucb": UCB,
        "empirical_mean": EmpiricalMean,
        "uniform": Uniform,
    }
    options = {"actions": actions}
    return BanditSetting(name, bernoulli_bandits, players, actions, actions, options, BetaThompson)


def _dark_room(name: str, size: int = 10, steps: int = 100, goals: str = "all") -> MdpSetting:
    _at_least(2, size=size)
    _at_least(1, steps=steps)
    _among("goals", goals, ("all", "train", "test"))
    options = {"size": size, "steps": steps, "goals": goals}
    explorers = {"random_walk": RandomWalk, "optimal": Optimal}
    return MdpSetting(name, dark_rooms, explorers, 5, 2, options)


def _tabular(
    name: str, states: int = 5, actions: int = 3, steps: int = 10, concentration: float = 0.5
) -> MdpSetting:
    _at_least(2, states=states, actions=actions)
    _at_least(1, steps=steps)
    _positive(concentration=concentration)
    options = {
        "states": states, "actions": actions, "steps": steps, "concentration": concentration,
    }  # fmt: skip
    explorers = {"ucb_vi": UCBVI, "random_walk": RandomWalk, "optimal": Optimal}
    return MdpSetting(name, tabular_mdps, explorers, actions, states + 1, options)


_SETTINGS: dict[str, Callable[..., Any]] = {
    "linear_bandit": _linear,
    "gaussian_bandit": _gaussian,
    "bernoulli_bandit": _bernoulli,
    "dark_room": _dark_room,
    "tabular": _tabular,
}


def _at_least(least: int, **values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}, but must be a whole number >= {least}")


def _positive(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value!r}, but must be a positive number")


def _among(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: choose {', '.join(choices)}")
