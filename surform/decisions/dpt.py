"""The decision-pretrained transformer: transitions of an unknown world in, the best action out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.decisions.backbones import BackboneName, make_backbone, memory_of
from surform.decisions.in_context_bandit import BanditMemory
from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least

__all__ = ["DPT"]


class DPT(nn.Module):
    """The state to act in and transitions so far in, logits of the next action out.

    One token per transition, after a token of the state that is asked about. Bandits have one
    state, the number 1.

    Lee, Xie, Pacchiano, Chandak, Finn, Nachum, Brunskill, "Supervised Pretraining Can Learn
    In-Context Reinforcement Learning", 2023 (arXiv 2306.14892).

    Args:
        actions: how many there are.
        state_dim: numbers that a state has.
        horizon: the most transitions.
        dim, depth: width and number of layers.
        heads: of the gpt2 backbone; the official code has one, whatever it is told.
        backbone: "gpt2", or "relu" as in `InContextBandit`.
        dropout: of the gpt2 backbone.
    """

    situation = "query"  # what `begin` is given

    @record_arguments
    def __init__(
        self,
        actions: int,
        state_dim: int = 1,
        horizon: int = 200,
        dim: int = 32,
        depth: int = 4,
        heads: int = 1,
        backbone: BackboneName = "gpt2",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, actions=actions, state_dim=state_dim)
        self.actions, self.state_dim, self.horizon = actions, state_dim, horizon
        self.embed = nn.Linear(2 * state_dim + actions + 1, dim)
        self.backbone = make_backbone(backbone, dim, depth, heads, horizon, dropout)
        self.head = nn.Linear(dim, actions)

    def forward(
        self,
        query: Float[Tensor, "b s"],
        states: Float[Tensor, "b n s"],
        actions: Float[Tensor, "b n a"],
        next_states: Float[Tensor, "b n s"],
        rewards: Float[Tensor, "b n"],
    ) -> Float[Tensor, "b m a"]:
        """Logits of the best action in `query` after 0, 1, ..., n transitions: m = n + 1.

        Args:
            query: the state to act in.
            states, actions (one-hot), next_states, rewards: transitions, in any order.

        Raises:
            ValueError: other shapes, or more transitions than `horizon`.
        """
        self._check(query, states, actions, next_states, rewards)
        seen = self._transitions(states, actions, next_states, rewards)
        x = self.embed(torch.cat((self._query(query), seen), 1))
        return self.head(self.backbone(x))

    def begin(
        self, query: Float[Tensor, "b s"], rounds: int | None = None
    ) -> tuple[Float[Tensor, "b a"], BanditMemory]:
        """Logits before any transition, and the memory for so many of them (None: horizon).

        The memory is of this query: its token comes first, and all others have seen it.
        """
        tokens = 1 + (self.horizon if rounds is None else rounds)
        memory = memory_of(self.backbone, len(query), tokens, self.embed.weight)
        x = self.backbone(self.embed(self._query(query)), memory)
        return self.head(x[:, -1]), BanditMemory(query, memory)

    def advance(
        self, actions: Float[Tensor, "b a"], rewards: Float[Tensor, " b"], memory: BanditMemory
    ) -> tuple[Float[Tensor, "b a"], BanditMemory]:
        """Logits after one more transition from the query to itself, as in bandits; the memory is
        changed in place."""
        state = memory.situation.unsqueeze(1)
        token = self._transitions(state, actions.unsqueeze(1), state, rewards.unsqueeze(1))
        return self.head(self.backbone(self.embed(token), memory.tokens)[:, -1]), memory

    def _query(self, query: Tensor) -> Tensor:
        rest = query.new_zeros(len(query), self.embed.in_features - self.state_dim)
        return torch.cat((query, rest), -1).unsqueeze(1)

    def _transitions(
        self, states: Tensor, actions: Tensor, next_states: Tensor, rewards: Tensor
    ) -> Tensor:
        return torch.cat((states, actions, next_states, rewards.unsqueeze(-1)), -1)

    def _check(
        self, query: Tensor, states: Tensor, actions: Tensor, next_states: Tensor, rewards: Tensor
    ) -> None:
        b, n, s = len(query), actions.shape[1], self.state_dim
        for name, found, wanted in (
            ("query", query, (b, s)),
            ("states", states, (b, n, s)),
            ("actions", actions, (b, n, self.actions)),
            ("next_states", next_states, (b, n, s)),
            ("rewards", rewards, (b, n)),
        ):
            if tuple(found.shape) != wanted:
                raise ValueError(f"{name} has the shape {tuple(found.shape)}, but must be {wanted}")
        if n > self.horizon:
            raise ValueError(
                f"there are {n} transitions, but the network has a horizon of {self.horizon}"
            )
