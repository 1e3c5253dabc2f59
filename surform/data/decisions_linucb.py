"""LinUCB: the arm with the largest upper confidence bound.

Li, Chu, Langford, Schapire, 2010 (arXiv 1003.0146), with the constants of "Transformers as Decision
Makers" (arXiv 2310.08566).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from surform.data.decisions_bandits import Bandits
from surform.data.decisions_linear_posterior import LinearPosterior

__all__ = ["LinUCB"]


class LinUCB:
    """The largest a . theta_hat + bonus sqrt(a^T P^-1 a), P = ridge I + sum a a^T.

    The first arm is any.
    """

    def __init__(self, bonus: float = 2.0, ridge: float = 1.0) -> None:
        self.bonus, self.ridge = bonus, ridge

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        self._known = LinearPosterior(bandits.arms, self.ridge)
        count, arms = bandits.means.shape
        self._first: Tensor | None = torch.randint(
            arms, (count,), generator=generator, device=bandits.means.device
        )

    def choose(self) -> Tensor:
        if self._first is not None:
            return self._first
        known = self._known
        index = torch.einsum("bak,bk->ba", known.arms, known.mean()) + self.bonus * known.width()
        return index.argmax(-1)

    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        self._first = None
        self._known.add(actions, rewards)
