"""What rounds tell of theta in rewards a . theta + noise, many bandits at once."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["LinearPosterior"]


class LinearPosterior:
    """Precision P = ridge I + sum a a^T, kept as its inverse, and b = sum r a, in float64.

    Args:
        arms: (B, A, k).
        ridge: noise variance over prior variance: P^-1 b is then the posterior's mean.
    """

    def __init__(self, arms: Tensor, ridge: Tensor | float) -> None:
        self.arms = arms.double()
        count, _, width = arms.shape
        scale = torch.as_tensor(ridge, dtype=torch.float64, device=arms.device).reshape(-1, 1, 1)
        eye = torch.eye(width, dtype=torch.float64, device=arms.device)
        self.inverse = (eye / scale).expand(count, -1, -1).clone()
        self.sums = self.arms.new_zeros(count, width)

    def mean(self) -> Tensor:
        """(B, k): P^-1 b."""
        return torch.einsum("bkl,bl->bk", self.inverse, self.sums)

    def width(self) -> Tensor:
        """(B, A): sqrt(a^T P^-1 a)."""
        return torch.einsum("bak,bkl,bal->ba", self.arms, self.inverse, self.arms).sqrt()

    def draw(self, noise: Tensor, count: int, generator: Generator) -> Tensor:
        """(B, count, k): samples of theta ~ N(P^-1 b, noise^2 P^-1), noise (B,)."""
        bandits, width = self.sums.shape
        like = {"dtype": torch.float64, "device": self.sums.device}
        normal = torch.randn(bandits, count, width, generator=generator, **like)
        root = torch.linalg.cholesky(self.inverse)
        return self.mean().unsqueeze(1) + noise.double().reshape(-1, 1, 1) * (normal @ root.mT)

    def add(self, actions: Tensor, rewards: Tensor) -> None:
        """One round: arms (B,) and rewards (B,); the inverse by Sherman and Morrison."""
        arm = self.arms[torch.arange(len(actions), device=actions.device), actions]
        seen = torch.einsum("bkl,bl->bk", self.inverse, arm)
        scale = 1 + (arm * seen).sum(-1)
        self.inverse -= torch.einsum("bk,bl->bkl", seen, seen / scale.unsqueeze(1))
        self.sums += arm * rewards.double().unsqueeze(1)
