"""Bandits, many at once: linear, Gaussian and Bernoulli arms.

Lee et al., 2023 (arXiv 2306.14892), sections 4 and 5; Lin, Bai, Mei, 2023 (arXiv 2310.08566),
section 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["Bandits", "bernoulli_bandits", "gaussian_bandits", "linear_bandits"]


@dataclass(eq=False)
class Bandits(TensorBatch):
    """B bandits of A arms.

    Args:
        arms: `(B, A, k)`, what the arms look like; the unit vectors where they are only numbered.
        means: `(B, A)`, mean reward of each arm.
        noise: `(B,)`, standard deviation of rewards; None: they are 1 with probability `means`,
            else 0.
    """

    arms: Tensor
    means: Tensor
    noise: Tensor | None = None

    def __len__(self) -> int:
        return len(self.means)

    @property
    def best(self) -> Tensor:
        """(B,) int64: the arm with the largest mean."""
        return self.means.argmax(-1)

    def luck(self, rounds: int, generator: Generator) -> Tensor:
        """(B, rounds): what decides the rewards; the same luck makes players comparable."""
        draw = torch.rand if self.noise is None else torch.randn
        like = {"dtype": self.means.dtype, "device": self.means.device}
        return draw(len(self), rounds, generator=generator, **like)

    def reward(self, actions: Tensor, luck: Tensor) -> Tensor:
        """(B,): of pulling arms (B,) with luck (B,)."""
        mean = self.means.gather(1, actions.unsqueeze(1)).squeeze(1)
        return (luck < mean).to(mean.dtype) if self.noise is None else mean + self.noise * luck

    def regret(self, actions: Tensor) -> Tensor:
        """(B, n): what each of the actions (B, n) loses in the mean against the best arm."""
        return self.means.max(-1, keepdim=True).values - self.means.gather(1, actions)

    def rows(self, which: Tensor) -> Bandits:
        """Some of the bandits, by number or mask."""
        return self.map(lambda tensor: tensor[which])


def linear_bandits(
    count: int,
    generator: Generator,
    actions: int = 10,
    features: int = 2,
    noise: float = 0.3,
    theta: str = "normal",
    arms: str = "shared",
    arms_seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Bandits:
    """Mean rewards a . theta of arms with features a.

    Args:
        actions, features: arms, and numbers that describe each.
        noise: standard deviation of rewards.
        theta: "normal": N(0, I / features), as in DPT's experiments; "uniform": U(0, 1) each, as in
            those of Lin, Bai and Mei.
        arms: "shared": one set for all bandits, N(0, I / features), drawn with `arms_seed`; "own":
            U(-1, 1) each, drawn for every bandit.
    """
    if arms == "shared":
        once = torch.Generator().manual_seed(arms_seed)
        made = torch.randn(actions, features, generator=once, dtype=dtype) / features**0.5
        looks = made.expand(count, -1, -1)
    else:
        looks = 2 * torch.rand(count, actions, features, generator=generator, dtype=dtype) - 1
    if theta == "normal":
        hidden = torch.randn(count, features, generator=generator, dtype=dtype) / features**0.5
    else:
        hidden = torch.rand(count, features, generator=generator, dtype=dtype)
    means = torch.einsum("bak,bk->ba", looks, hidden)
    return Bandits(looks, means, torch.full((count,), noise, dtype=dtype))


def gaussian_bandits(
    count: int,
    generator: Generator,
    actions: int = 5,
    noise: float = 0.3,
    dtype: torch.dtype = torch.float32,
) -> Bandits:
    """Independent arms, means U(0, 1), Gaussian rewards."""
    means = torch.rand(count, actions, generator=generator, dtype=dtype)
    return Bandits(
        _numbered(count, actions, dtype), means, torch.full((count,), noise, dtype=dtype)
    )


def bernoulli_bandits(
    count: int, generator: Generator, actions: int = 5, dtype: torch.dtype = torch.float32
) -> Bandits:
    """Independent arms that give 1 or 0, means Beta(1, 1)."""
    means = torch.rand(count, actions, generator=generator, dtype=dtype)
    return Bandits(_numbered(count, actions, dtype), means)


def _numbered(count: int, actions: int, dtype: torch.dtype) -> Tensor:
    return torch.eye(actions, dtype=dtype).expand(count, -1, -1)
