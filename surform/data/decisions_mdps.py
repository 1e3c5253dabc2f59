"""Small worlds with states, many at once: Dark Room and random tabular MDPs.

Episodes have a fixed length. Lee et al., 2023 (arXiv 2306.14892), section 6, for Dark Room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["DarkRooms", "TabularMDPs", "Worlds", "dark_rooms", "tabular_mdps"]


class Worlds(Protocol):
    """B worlds with numbered states, (B,) int64."""

    states: int
    actions: int
    steps: int  # of an episode
    moments: int  # steps that networks tell apart: 1 where they do not see the time

    def __len__(self) -> int: ...

    def begin(self, generator: Generator) -> Tensor:
        """(B,): the states in which episodes begin."""
        ...

    def anywhere(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """(B,), (B,): a state and a step of an episode, all alike likely."""
        ...

    def step(self, state: Tensor, action: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """(B,), (B,): the next states and the rewards."""
        ...

    def look(self, state: Tensor, step: Tensor) -> Tensor:
        """(B, S): states as networks see them."""
        ...

    def best(self, state: Tensor, step: Tensor) -> Tensor:
        """(B,): an optimal action."""
        ...

    def value(self) -> Tensor:
        """(B,): the expected return of the optimal policy."""
        ...


_MOVES = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])


@dataclass(eq=False)
class DarkRooms(TensorBatch):
    """Square rooms with a goal that is not seen: reward 1 in every step that ends on it.

    Five actions: right, left, up, down, stay; walls stop. States are places, x * size + y; networks
    see (x, y). Episodes begin at (0, 0).

    Args:
        goal: `(B, 2)` int64.
        shape: `(B, 2)` int64: side of the rooms, steps of an episode; the same for all.
    """

    goal: Tensor
    shape: Tensor

    actions, moments = 5, 1

    def __len__(self) -> int:
        return len(self.goal)

    @property
    def size(self) -> int:
        return int(self.shape[0, 0])

    @property
    def steps(self) -> int:
        return int(self.shape[0, 1])

    @property
    def states(self) -> int:
        return self.size**2

    def begin(self, generator: Generator) -> Tensor:
        return torch.zeros(len(self), dtype=torch.int64, device=self.goal.device)

    def anywhere(self, generator: Generator) -> tuple[Tensor, Tensor]:
        place = torch.randint(self.states, (len(self),), generator=generator)
        return place.to(self.goal.device), torch.zeros_like(self.goal[:, 0])

    def step(self, state: Tensor, action: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        place = self._place(state) + _MOVES.to(state.device)[action]
        place = place.clamp(0, self.size - 1)
        reward = (place == self.goal).all(-1).float()
        return place[:, 0] * self.size + place[:, 1], reward

    def look(self, state: Tensor, step: Tensor) -> Tensor:
        return self._place(state).float()

    def best(self, state: Tensor, step: Tensor) -> Tensor:
        """Along x first, then along y, then stay."""
        x, y = (self.goal - self._place(state)).unbind(-1)
        along_y = torch.where(y > 0, 2, torch.where(y < 0, 3, 4))
        return torch.where(x > 0, 0, torch.where(x < 0, 1, along_y))

    def value(self) -> Tensor:
        away = self.goal.sum(-1)  # steps from (0, 0)
        found = self.steps - (away - 1).clamp(min=0)
        return found.clamp(min=0).float()

    def _place(self, state: Tensor) -> Tensor:
        return torch.stack((state // self.size, state % self.size), -1)


def dark_rooms(
    count: int, generator: Generator, size: int = 10, steps: int = 100, goals: str = "all"
) -> DarkRooms:
    """Goals anywhere; "train" and "test" are four fifths and one fifth of the places, for goals
    that were never trained on."""
    places = torch.arange(size**2)
    # every fifth place, shifted from column to column so that they spread
    held_out = (places + 2 * (places // size)) % 5 == 0
    chosen = {"all": places, "train": places[~held_out], "test": places[held_out]}[goals]
    goal = chosen[torch.randint(len(chosen), (count,), generator=generator)]
    shape = torch.tensor([size, steps]).expand(count, -1)
    return DarkRooms(torch.stack((goal // size, goal % size), -1), shape)


@dataclass(eq=False)
class TabularMDPs(TensorBatch):
    """Random MDPs: rewards are 1 or 0, episodes begin in state 0.

    Networks see the state, one-hot, and the share of the episode that is over.

    Args:
        transition: `(B, S, A, S)`, probabilities of the next states.
        reward: `(B, S, A)`, probabilities of the reward 1.
        policy: `(B, H, S)` int64, optimal actions.
        best_value: `(B,)`, expected return of that policy.
    """

    transition: Tensor
    reward: Tensor
    policy: Tensor
    best_value: Tensor

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def states(self) -> int:
        return self.reward.shape[1]

    @property
    def actions(self) -> int:
        return self.reward.shape[2]

    @property
    def steps(self) -> int:
        return self.policy.shape[1]

    @property
    def moments(self) -> int:
        return self.steps

    def begin(self, generator: Generator) -> Tensor:
        return torch.zeros(len(self), dtype=torch.int64, device=self.reward.device)

    def anywhere(self, generator: Generator) -> tuple[Tensor, Tensor]:
        size, device = (len(self),), self.reward.device
        state = torch.randint(self.states, size, generator=generator)
        return state.to(device), torch.randint(self.steps, size, generator=generator).to(device)

    def step(self, state: Tensor, action: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self), device=state.device)
        chances = self.transition[rows, state, action]
        following = torch.multinomial(chances, 1, generator=generator).squeeze(1)
        luck = torch.rand(
            len(self), generator=generator, dtype=self.reward.dtype, device=state.device
        )
        gained = (luck < self.reward[rows, state, action]).float()
        return following, gained

    def look(self, state: Tensor, step: Tensor) -> Tensor:
        one = torch.nn.functional.one_hot(state, self.states).float()
        return torch.cat((one, (step / self.steps).to(one).unsqueeze(-1)), -1)

    def best(self, state: Tensor, step: Tensor) -> Tensor:
        return self.policy[torch.arange(len(self), device=state.device), step, state]

    def value(self) -> Tensor:
        return self.best_value.float()


def tabular_mdps(
    count: int,
    generator: Generator,
    states: int = 5,
    actions: int = 3,
    steps: int = 10,
    concentration: float = 0.5,
) -> TabularMDPs:
    """Next states ~ Dirichlet(concentration), mean rewards ~ U(0, 1)^3: most are small."""
    alpha = torch.full((count, states, actions, states), concentration, dtype=torch.float64)
    drawn = torch._standard_gamma(alpha, generator=generator)  # pyright: ignore[reportPrivateImportUsage]
    gamma = drawn.clamp(min=1e-12)
    transition = gamma / gamma.sum(-1, keepdim=True)
    reward = torch.rand(count, states, actions, generator=generator, dtype=torch.float64) ** 3
    policy, value = planned(transition, reward, steps)
    return TabularMDPs(transition, reward, policy, value[:, 0])


def planned(transition: Tensor, reward: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Value iteration over H steps: (B, H, S) optimal actions, (B, S) values at the start."""
    value = reward.new_zeros(reward.shape[:2])
    actions = []
    for _ in range(steps):
        quality = reward + torch.einsum("bsat,bt->bsa", transition, value)
        value, action = quality.max(-1)
        actions.append(action)
    return torch.stack(actions[::-1], 1), value
