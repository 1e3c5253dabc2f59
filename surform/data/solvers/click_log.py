"""A world of clicks: categories with hidden vectors, and the true probability of every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["ClickLog", "Effects", "bayes_figures"]

_CHUNK = 8192  # rows that share a generator: a row is a function of (seed, its number)


@dataclass(frozen=True)
class Effects:
    """What the columns do to the logit; C columns of at most V categories.

    Args:
        main: (C, V): added for each category of each column.
        weights, values: (C, V, n) each: what a category adds to the weights and to the values of n
            reasons; the logit has sum_r softmax(weights)_r values_r. n may be 0.
        factors: (C, V, k): the logit has the products of all pairs of columns' vectors; k may be 0.
        numbers: weight of each number, standardised.
        bias: of all rows.
    """

    main: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    factors: np.ndarray
    numbers: np.ndarray
    bias: float

    def logits(self, categories: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """(R,) from categories (R, C) and numbers (R, m)."""
        found = self.bias + numbers @ self.numbers + _sums(self.main[..., None], categories)[:, 0]
        if self.weights.shape[-1]:
            weights = _sums(self.weights, categories)
            share = np.exp(weights - weights.max(1, keepdims=True))
            found += (share * _sums(self.values, categories)).sum(1) / share.sum(1)
        if self.factors.shape[-1]:
            whole = _sums(self.factors, categories)
            squares = _sums((self.factors**2).sum(-1, keepdims=True), categories)[:, 0]
            found += ((whole**2).sum(1) - squares) / 2  # each pair once
        return found


@dataclass(frozen=True)
class ClickLog:
    """Rows drawn from a world.

    Args:
        sizes: categories of each column, by its name; those of low number are shown more often.
        numbers: columns of numbers: log-normal ones, whose logarithm counts.
        effects: what makes a click.
    """

    sizes: dict[str, int]
    numbers: tuple[str, ...]
    effects: Effects

    def rows(self, numbers: range, seed: int) -> dict[str, np.ndarray]:
        """Columns of rows with these numbers: categories, numbers, `click` and `probability`."""
        first, last = numbers.start // _CHUNK, (numbers.stop - 1) // _CHUNK
        parts = [self._chunk(chunk, seed) for chunk in range(first, last + 1)]
        own = slice(numbers.start - first * _CHUNK, numbers.stop - first * _CHUNK)
        return {name: np.concatenate([part[name] for part in parts])[own] for name in parts[0]}

    def _chunk(self, chunk: int, seed: int) -> dict[str, np.ndarray]:
        generator = np.random.default_rng([seed, chunk])
        columns: dict[str, Any] = {}
        for name, size in self.sizes.items():
            shown = 1 / np.sqrt(4 + np.arange(size))
            columns[name] = generator.choice(size, _CHUNK, p=shown / shown.sum()).astype(np.int32)
        normal = generator.standard_normal((_CHUNK, len(self.numbers)))
        logits = self.effects.logits(np.stack(list(columns.values()), 1), normal)
        chance = 1 / (1 + np.exp(-logits))
        for place, name in enumerate(self.numbers):
            columns[name] = np.exp(normal[:, place]).astype(np.float32)
        columns["click"] = (generator.random(_CHUNK) < chance).astype(np.int8)
        columns["probability"] = chance.astype(np.float32)
        return columns


def bayes_figures(counts: np.ndarray, entropy: float) -> dict[str, float]:
    """What the true probabilities themselves reach.

    Args:
        counts: (2, bins): expected negatives and positives by the bin of their probability.
        entropy: mean entropy of the rows' clicks [nats].
    """
    negatives, positives = counts
    below = np.concatenate(([0.0], np.cumsum(negatives)[:-1]))
    area = (positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum())
    return {"bayes_auc": float(area), "bayes_log_loss": float(entropy)}


def _sums(tables: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """(R, n): rows of the tables (C, V, n) looked up and added."""
    found = np.zeros((len(categories), tables.shape[-1]))
    for column, table in enumerate(tables):
        found += table[categories[:, column]]
    return found
