"""A network acts in worlds with states: asked about each state anew, with what was seen so far."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from surform.data.decisions_explorers import Seen
from surform.data.decisions_mdp_setting import looks
from surform.data.decisions_mdps import Worlds

__all__ = ["InContextExplorer"]


class InContextExplorer:
    """Acts by a network with frozen weights, as `surform.data.decisions_explorers.Explorer`.

    The context is the last `rounds` transitions of earlier episodes. It does not change within an
    episode, so that a state that was asked about before is answered from memory, exactly. Keys and
    values cannot be kept from one state to another: the token of the state comes first, and all
    others have seen it.

    Worlds are on the CPU, wherever the network is.

    Args:
        net: such as `DPT`.
        rounds: the longest context.
    """

    def __init__(self, net: nn.Module, rounds: int) -> None:
        self.net: Any = net
        self.rounds = rounds

    def begin(self, worlds: Worlds, generator: Generator) -> None:
        self._worlds, self._generator = worlds, generator
        like = next(self.net.parameters())
        self._states = like.new_zeros(len(worlds), 0, self.net.state_dim)
        self._next_states = self._states
        self._actions = like.new_zeros(len(worlds), 0, self.net.actions)
        self._rewards = like.new_zeros(len(worlds), 0)
        self._forget()

    @torch.no_grad()
    def choose(self, state: Tensor, step: int) -> Tensor:
        worlds = self._worlds
        rows = torch.arange(len(state))
        place = step % worlds.moments * worlds.states + state
        new = ~self._known[rows, place]
        if bool(new.any()):
            query = worlds.look(state, torch.full_like(state, step)).to(self._states)
            context = (self._states, self._actions, self._next_states, self._rewards)
            logits = self.net(query[new], *(part[new] for part in context))[:, -1]
            self._logits[rows[new], place[new]] = logits.to(self._logits)
            self._known[rows[new], place[new]] = True
        chances = torch.softmax(self._logits[rows, place], -1)
        return torch.multinomial(chances, 1, generator=self._generator).squeeze(1)

    def learn(self, seen: Seen) -> None:
        worlds, like = self._worlds, self._states
        before, after = (
            looks(worlds, seen.states, seen.steps).to(like),
            looks(worlds, seen.next_states, seen.steps + 1).to(like),
        )
        actions = F.one_hot(seen.actions, self.net.actions).to(like)
        self._states = self._last(self._states, before)
        self._next_states = self._last(self._next_states, after)
        self._actions = self._last(self._actions, actions)
        self._rewards = self._last(self._rewards, seen.rewards.to(like))
        self._forget()

    def _last(self, old: Tensor, new: Tensor) -> Tensor:
        return torch.cat((old, new), 1)[:, -self.rounds :]

    def _forget(self) -> None:
        places = self._worlds.moments * self._worlds.states
        shape = (len(self._states), places, self.net.actions)
        self._logits = torch.zeros(shape, dtype=torch.float64)
        self._known = torch.zeros(shape[:2], dtype=torch.bool)
