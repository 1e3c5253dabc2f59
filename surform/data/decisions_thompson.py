"""Thompson sampling: the best arm of a world drawn from the posterior.

Thompson, 1933; Agrawal and Goyal, 2013 (arXiv 1209.3352), for linear rewards.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandits import Bandits
from surform.data.decisions_linear_posterior import LinearPosterior

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
        theta = self._known.draw(self._noise, self._generator)
        return torch.einsum("bak,bk->ba", self._known.arms, theta).argmax(-1)

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
        gamma = torch._standard_gamma(self._counts, generator=self._generator)  # pyright: ignore[reportPrivateImportUsage]
        return (gamma[0] / gamma.sum(0)).argmax(-1)

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        where, won = actions.unsqueeze(1), rewards.double().unsqueeze(1)
        self._counts[0].scatter_add_(1, where, won)
        self._counts[1].scatter_add_(1, where, 1 - won)
