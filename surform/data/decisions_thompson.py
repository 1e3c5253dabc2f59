"""Thompson sampling: the best arm of a world drawn from the posterior.

Thompson, 1933; Agrawal and Goyal, 2013 (arXiv 1209.3352), for linear rewards.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandits import Bandits
from surform.data.decisions_linear_posterior import LinearPosterior
from surform.data.decisions_posterior import shares

__all__ = ["BetaThompson", "LinearThompson"]


class LinearThompson:
    """theta ~ N(0, prior^2 I), Gaussian rewards of the bandits' own noise.

    Args:
        prior: standard deviation of each number in theta.
    """

    def __init__(self, prior: float = 1.0) -> None:
        if not prior > 0:
            raise ValueError(f"prior is {prior}, but must be positive")
        self.prior = prior

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        if bandits.noise is None:
            raise ValueError("rewards of 0 and 1 have no Gaussian noise: take BetaThompson")
        self._noise, self._generator = bandits.noise, generator
        self._known = LinearPosterior(bandits.arms, (bandits.noise.double() / self.prior) ** 2)

    def choose(self) -> Tensor:
        return self._best(1).squeeze(1)

    def chances(self, draws: int) -> Tensor:
        return shares(self._best(draws), self._known.arms.shape[1])

    def _best(self, draws: int) -> Tensor:
        """(B, draws): the best arm, were theta each of so many samples."""
        theta = self._known.draw(self._noise, draws, self._generator)
        return (theta @ self._known.arms.mT).argmax(-1)

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        self._known.add(actions, rewards)


class BetaThompson:
    """Means ~ Beta(1 + successes, 1 + failures), rewards of 0 and 1."""

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        self._counts = torch.ones(
            (2, *bandits.means.shape), dtype=torch.float64, device=bandits.means.device
        )
        self._generator = generator

    def choose(self) -> Tensor:
        return self._best(1).squeeze(1)

    def chances(self, draws: int) -> Tensor:
        return shares(self._best(draws), self._counts.shape[-1])

    def _best(self, draws: int) -> Tensor:
        """(B, draws): the best arm, were the means each of so many samples."""
        counts = self._counts.unsqueeze(2).expand(-1, -1, draws, -1)
        gamma = torch._standard_gamma(counts, generator=self._generator)  # pyright: ignore[reportPrivateImportUsage]
        return (gamma[0] / gamma.sum(0)).argmax(-1)

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        where, won = actions.unsqueeze(1), rewards.double().unsqueeze(1)
        self._counts[0].scatter_add_(1, where, won)
        self._counts[1].scatter_add_(1, where, 1 - won)
