"""Worlds to decide in, made while training, as a Lightning data module."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from surform.data.decisions_batch import DecisionBatch
from surform.data.decisions_description import DecisionsDescription
from surform.data.decisions_samples import FreshOrder, WorldSamples
from surform.data.decisions_settings import make_setting
from surform.data.order import BatchOrder
from surform.data.ordered_module import OrderedData

__all__ = ["DecisionsData"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class DecisionsData(OrderedData):
    """Bandits and small worlds, drawn and played when they are needed; nothing is read or stored.

    Args:
        worlds: {name: kind, option: value, ...}; kinds are linear_bandit, gaussian_bandit,
            bernoulli_bandit, dark_room, tabular.
        collector: who plays to make contexts: a name, or {name: share of the worlds}. For bandits
            thompson, uniform, skewed (DPT's), linucb, ucb, empirical_mean, as they know the kind.
        rounds: transitions in a context.
        lengths: transitions that training contexts have in turn, with as many more worlds in a
            batch as they are shorter; None: `rounds`. What an agent does first is learnt from the
            first transitions only, which long contexts have few of.
        environments: worlds of one training epoch, all lengths together; every epoch has new ones.
        validation, test: worlds of these splits.
        batch_size: worlds per training batch and process, of the longest contexts.
        eval_batch_size: likewise for validation and test; default: all of them.
        episodes: that the agent acts in to be measured, in worlds with states.
        labels: "optimal": the best action of the world, one sample of the posterior given what
            was seen, as DPT is published; "posterior": its probabilities, which are the mean of
            that sample. They need the family that worlds are drawn from: linear_bandit with normal
            theta, and bernoulli_bandit.
        draws: samples by which these probabilities are estimated, after every round.
        seed: of everything that is drawn.
        dtype: of rewards and states.
    """

    protocol = "clean"
    drop_last = True

    def __init__(
        self,
        worlds: dict[str, Any],
        collector: str | dict[str, float] = "uniform",
        rounds: int = 200,
        lengths: list[int] | None = None,
        environments: int = 16384,
        validation: int = 200,
        test: int = 200,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        episodes: int = 4,
        labels: Literal["optimal", "posterior"] = "optimal",
        draws: int = 32,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        for name, least, value in (
            ("rounds", 1, rounds), ("environments", 1, environments), ("validation", 0, validation),
            ("test", 1, test), ("batch_size", 1, batch_size), ("seed", 0, seed),
            ("eval_batch_size", 1, eval_batch_size), ("episodes", 1, episodes),
            ("draws", 1, draws),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.setting = make_setting(worlds)
        self.worlds = dict(worlds)
        self.collectors = {collector: 1.0} if isinstance(collector, str) else dict(collector)
        self._check_collectors()
        self.draws = self._draws(labels, draws)
        self.rounds, self.seed, self.dtype = rounds, seed, _DTYPES[dtype]
        self.lengths = [rounds] if lengths is None else list(lengths)
        if not self.lengths or any(not 1 <= length <= rounds for length in self.lengths):
            raise ValueError(
                f"lengths is {lengths}, but must be numbers from 1 to rounds = {rounds}"
            )
        self.episodes = episodes
        self.counts = {"train": environments, "validation": validation, "test": test}
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or max(validation, test)

    def description(self) -> DecisionsDescription:
        """The worlds, and who played in them."""
        about = {"worlds": self.worlds, "collectors": self.collectors, "rounds": self.rounds}
        text = json.dumps(about | {"seed": self.seed}, sort_keys=True)
        return DecisionsDescription(
            worlds=self.worlds,
            rounds=self.rounds,
            collectors=self.collectors,
            episodes=self.episodes,
            source={"fingerprint": hashlib.sha256(text.encode()).hexdigest()},
        )

    def normalizers(self) -> tuple[()]:
        """None: rewards and states are taken as they are."""
        return ()

    def check(self, trained: DecisionsDescription) -> None:
        """ValueError unless these worlds suit an agent that was trained in others."""
        trained.require_match(self.description(), "data.worlds")

    def samples(self, split: str) -> WorldSamples:
        """The worlds of "train", "validation" or "test": a data set of `DecisionBatch`."""
        if not self._has(split):
            there = ", ".join(name for name, count in self.counts.items() if count)
            raise ValueError(f"there are no {split} worlds: there are {there}")
        count = self.counts[split]
        return WorldSamples(
            self.setting, self.collectors, self.rounds, count, split, self.seed, self.dtype,
            self.draws,
        )  # fmt: skip

    def _has(self, split: str) -> bool:
        return self.counts.get(split, 0) > 0

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[DecisionBatch], BatchOrder]:
        fresh = partial(FreshOrder, lengths=self.lengths, rounds=self.rounds)
        order: Any = fresh if training else BatchOrder
        return self._in_order(self.samples(split), order, training)

    def _draws(self, labels: str, draws: int) -> int:
        """Samples behind the labels; 0: the labels are the best actions."""
        if labels not in ("optimal", "posterior"):
            raise ValueError(f"labels is {labels!r}: choose optimal, posterior")
        if labels == "posterior" and self.setting.believer is None:
            raise ValueError(
                f"labels is 'posterior', which is known for linear_bandit with theta normal and "
                f"for bernoulli_bandit, not for {self.worlds}: take labels: optimal"
            )
        return draws if labels == "posterior" else 0

    def _check_collectors(self) -> None:
        if not self.collectors:
            raise ValueError("collector is empty: name who plays, such as uniform")
        for name, share in self.collectors.items():
            if name not in self.setting.collectors:
                choices = ", ".join(self.setting.collectors)
                raise ValueError(
                    f"collector {name!r} does not play {self.setting.name}: choose {choices}"
                )
            if not isinstance(share, int | float) or not share > 0:
                raise ValueError(f"collector {name} has the share {share!r}: must be positive")
