"""A network plays bandits: one new round is one or two new tokens, for many bandits at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from surform.data.decisions_bandits import Bandits

__all__ = ["InContextPlayer"]


class InContextPlayer:
    """Plays by a network with frozen weights, as `surform.data.decisions_players.Player`.

    Args:
        net: such as `DPT` or `InContextBandit`.
        greedy: take the most probable arm instead of drawing one.
        temperature: logits are divided by it before an arm is drawn: below 1, improbable arms,
            whose chances a network overstates, are drawn less often.
    """

    def __init__(self, net: nn.Module, greedy: bool = False, temperature: float = 1.0) -> None:
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature is {temperature}, but must be a positive number")
        self.net: Any = net
        self.greedy, self.temperature = greedy, temperature
        self._logits: Tensor | None = None

    def begin(self, bandits: Bandits, rounds: int, generator: Generator) -> None:
        """Bandits that the package has drawn; of these, the looks of the arms are read."""
        arms = bandits.arms if self.net.situation == "arms" else None
        self.start(len(bandits), arms, rounds, generator)

    @torch.no_grad()
    def start(
        self,
        batch: int = 1,
        arms: Tensor | None = None,
        rounds: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Begin with bandits of one's own.

        Args:
            batch: how many, side by side.
            arms: (batch, A, k), features of the arms, for networks that are told them.
            rounds: that will be played at most; None: as many as the network can.
            generator: of the choices; None: torch's own.

        Raises:
            ValueError: arms are missing, or more rounds than the network's horizon.
        """
        like = next(self.net.parameters())
        if rounds is not None and rounds > self.net.horizon:
            raise ValueError(
                f"{rounds} rounds are asked for, but the network has a horizon of "
                f"{self.net.horizon}"
            )
        if self.net.situation == "arms":
            if arms is None:
                raise ValueError(
                    "this network is told what arms look like: give arms (batch, A, k)"
                )
            situation = arms.to(like)
        else:
            situation = like.new_ones(batch, self.net.state_dim)
        self._generator = generator
        self._logits, self._memory = self.net.begin(situation, rounds)
        self._left = self.net.horizon if rounds is None else rounds

    @torch.no_grad()
    def choose(self) -> Tensor:
        """(B,) int64: the arms to pull now; ValueError before `start`."""
        if self._logits is None:
            raise ValueError("no bandits yet: call start before choose")
        if self.greedy:
            return self._logits.argmax(-1)
        chances = torch.softmax(self._logits.double() / self.temperature, -1)
        return torch.multinomial(chances, 1, generator=self._generator).squeeze(1)

    def chances(self) -> Tensor:
        """(B, A): the network's probabilities of the arms now."""
        if self._logits is None:
            raise ValueError("no bandits yet: call start before chances")
        return torch.softmax(self._logits, -1)

    @torch.no_grad()
    def learn(self, actions: Tensor, rewards: Tensor) -> None:
        """Take one round into the context: arms (B,), rewards (B,).

        Raises:
            ValueError: before `start`, arms that there are not, or rewards that are no numbers.
        """
        if self._logits is None:
            raise ValueError("no bandits yet: call start before learn")
        like = self._logits
        actions, rewards = torch.as_tensor(actions), torch.as_tensor(rewards).to(like)
        if actions.shape != (len(like),) or rewards.shape != (len(like),):
            raise ValueError(
                f"actions and rewards have the shapes {tuple(actions.shape)} and "
                f"{tuple(rewards.shape)}, but there are {len(like)} bandits"
            )
        if not bool(((actions >= 0) & (actions < self.net.actions)).all()):
            raise ValueError(f"actions must be arms from 0 to {self.net.actions - 1}")
        if not bool(torch.isfinite(rewards).all()):
            raise ValueError("a reward is not finite: what came of a pull must be a number")
        self._left -= 1
        if self._left > 0:
            pulled = F.one_hot(actions.to(like.device), self.net.actions).to(like)
            self._logits, self._memory = self.net.advance(pulled, rewards, self._memory)
