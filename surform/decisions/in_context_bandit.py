"""The transformer of "Transformers as Decision Makers" on bandits whose arms have features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.decisions.backbones import BackboneName, make_backbone, memory_of
from surform.decisions.key_values import KeyValues
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least

__all__ = ["BanditMemory", "InContextBandit"]


class BanditMemory(NamedTuple):
    """What a network remembers of bandits: the token that each round begins with, and its keys."""

    situation: Tensor
    tokens: KeyValues


class InContextBandit(nn.Module):
    """Arms' features and the rounds so far in, logits of the next arm out.

    Two tokens per round: the features of all arms, then the arm that was pulled and its reward;
    both carry their number, from 1.

    Lin, Bai, Mei, "Transformers as Decision Makers: Provable In-Context Reinforcement Learning via
    Supervised Pretraining", 2023 (arXiv 2310.08566).

    Args:
        actions: arms.
        features: of each arm.
        horizon: the most rounds.
        dim, depth: width and number of layers.
        heads: of the gpt2 backbone.
        backbone: "relu" (rectified attention, norms after each part) or "gpt2".
        dropout: of the gpt2 backbone.
    """

    situation = "arms"  # what `begin` is given

    @record_arguments
    def __init__(
        self,
        actions: int,
        features: int,
        horizon: int = 200,
        dim: int = 32,
        depth: int = 8,
        heads: int = 1,
        backbone: BackboneName = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, actions=actions, features=features)
        self.actions, self.features, self.horizon = actions, features, horizon
        self.embed = nn.Linear(actions * features + actions + 3, dim)
        self.backbone = make_backbone(backbone, dim, depth, heads, horizon, dropout)
        self.head = nn.Linear(dim, actions)

    def forward(
        self,
        arms: Float[Tensor, "b a k"],
        actions: Float[Tensor, "b n a"],
        rewards: Float[Tensor, "b n"],
    ) -> Float[Tensor, "b m a"]:
        """Logits of the arm to pull after 0, 1, ..., n rounds: m = n + 1.

        Args:
            arms: features of the arms.
            actions: arms that were pulled, one-hot.
            rewards: of each round.

        Raises:
            ValueError: other shapes, or more rounds than `horizon`.
        """
        self._check(arms, actions, rewards)
        rounds = actions.shape[1]
        before = self._arms(arms, 2 * torch.arange(rounds + 1, device=arms.device) + 1)
        after = self._pulls(actions, rewards, 2 * torch.arange(rounds, device=arms.device) + 2)
        tokens = torch.stack((before[:, :-1], after), 2).flatten(1, 2)
        x = self.embed(torch.cat((tokens, before[:, -1:]), 1))
        return self.head(self.backbone(x)[:, ::2])

    def begin(
        self, arms: Float[Tensor, "b a k"], rounds: int | None = None
    ) -> tuple[Float[Tensor, "b a"], BanditMemory]:
        """Logits of the first arm to pull, and the memory for so many rounds (None: horizon)."""
        rounds = self.horizon if rounds is None else rounds
        self._check(arms, arms.new_zeros(len(arms), 0, self.actions), arms.new_zeros(len(arms), 0))
        like = self.embed.weight
        memory = BanditMemory(arms, memory_of(self.backbone, len(arms), 2 * rounds + 1, like))
        token = self._arms(arms, torch.ones(1, dtype=torch.int64, device=arms.device))
        return self.head(self.backbone(self.embed(token), memory.tokens)[:, -1]), memory

    def advance(
        self, actions: Float[Tensor, "b a"], rewards: Float[Tensor, " b"], memory: BanditMemory
    ) -> tuple[Float[Tensor, "b a"], BanditMemory]:
        """Logits of the next arm after one more round; the memory is changed in place."""
        number = torch.tensor([memory.tokens.length + 1], device=rewards.device)
        pulled = self._pulls(actions.unsqueeze(1), rewards.unsqueeze(1), number)
        tokens = torch.cat((pulled, self._arms(memory.situation, number + 1)), 1)
        return self.head(self.backbone(self.embed(tokens), memory.tokens)[:, -1]), memory

    def _arms(self, arms: Tensor, numbers: Tensor) -> Tensor:
        """(b, r, token): the arms' features before rounds, at these places."""
        b, r = len(arms), len(numbers)
        features = arms.flatten(1).unsqueeze(1).expand(-1, r, -1)
        rest = arms.new_zeros(b, r, self.actions + 1)
        return torch.cat((features, rest, self._marks(numbers, features)), -1)

    def _pulls(self, actions: Tensor, rewards: Tensor, numbers: Tensor) -> Tensor:
        """(b, r, token): what was done and came of it."""
        b, r = rewards.shape
        empty = actions.new_zeros(b, r, self.actions * self.features)
        return torch.cat(
            (empty, actions, rewards.unsqueeze(-1), self._marks(numbers, rewards.unsqueeze(-1))), -1
        )

    def _marks(self, numbers: Tensor, like: Tensor) -> Tensor:
        """(b, r, 2): 1 and the place."""
        places = numbers.to(like.dtype)
        return torch.stack((torch.ones_like(places), places), -1).expand(len(like), -1, -1)

    def _check(self, arms: Tensor, actions: Tensor, rewards: Tensor) -> None:
        b, n = len(arms), actions.shape[1]
        for name, found, wanted in (
            ("arms", arms, (b, self.actions, self.features)),
            ("actions", actions, (b, n, self.actions)),
            ("rewards", rewards, (b, n)),
        ):
            if tuple(found.shape) != wanted:
                raise ValueError(
                    f"{name} have the shape {tuple(found.shape)}, but must be {wanted}"
                )
        if n > self.horizon:
            raise ValueError(
                f"there are {n} rounds, but the network has a horizon of {self.horizon}"
            )
