"""Optimisers of many structures at once: each takes the steps that it would take alone.

Degrees of freedom are rows of three numbers; a structure's rows stand together. Directions come in,
displacements go out; what an optimiser remembers belongs to rows or to structures, so that
structures may leave and others come at any step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["FIRE", "LBFGS", "OPTIMIZERS", "Optimizer", "longest", "total"]


def total(values: Tensor, batch: Tensor, structures: int) -> Tensor:
    """Sum over the rows of each structure, (rows, 3) -> (B, 1)."""
    found = values.new_zeros(structures).index_add(0, batch, values.sum(1))
    return found[:, None]


def longest(values: Tensor, batch: Tensor, structures: int) -> Tensor:
    """The longest row of each structure, (rows, 3) -> (B, 1)."""
    norms = values.norm(dim=1)
    return norms.new_zeros(structures).scatter_reduce(0, batch, norms, "amax")[:, None]


class Optimizer(ABC):
    """What is remembered of each row (N, 3) and of each structure (B, 1)."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.structures: list[Tensor] = []

    @abstractmethod
    def blank(self, rows: int, structures: int) -> tuple[list[Tensor], list[Tensor]]:
        """What is remembered at the start."""

    @abstractmethod
    def step(
        self, places: Float[Tensor, "n 3"], forces: Float[Tensor, "n 3"], batch: Int[Tensor, " n"]
    ) -> Float[Tensor, "n 3"]:
        """The displacement of every row."""

    def enter(self, rows: int, structures: int) -> None:
        """Structures come, behind those that are there."""
        more, new = self.blank(rows, structures)
        self.rows = _joined(self.rows, more)
        self.structures = _joined(self.structures, new)

    def keep(self, rows: Bool[Tensor, " n"], structures: Bool[Tensor, " b"]) -> None:
        """All others leave."""
        self.rows = [each[rows] for each in self.rows]
        self.structures = [each[structures] for each in self.structures]


def _joined(old: list[Tensor], new: list[Tensor]) -> list[Tensor]:
    return [torch.cat(pair) for pair in zip(old, new, strict=True)] if old else new


class FIRE(Optimizer):
    """Fast inertial relaxation engine (Bitzek et al., Phys. Rev. Lett. 97, 170201, 2006).

    Steps and constants as in ASE: a first time step of 0.1, at most 1, and moves of a structure as
    a whole of at most 0.2 Å.
    """

    start, most, longest_move = 0.1, 1.0, 0.2
    wait, faster, slower = 5, 1.1, 0.5
    mixing, less_mixing = 0.1, 0.99

    def blank(self, rows: int, structures: int) -> tuple[list[Tensor], list[Tensor]]:
        one = torch.ones(structures, 1, dtype=torch.float64)
        velocity = torch.zeros(rows, 3, dtype=torch.float64)
        # time step, mixing, steps downhill; -1: none yet
        return [velocity], [self.start * one, self.mixing * one, -one]

    def step(self, places: Tensor, forces: Tensor, batch: Tensor) -> Tensor:
        (velocity,) = self.rows
        time_step, mixing, downhill = self.structures
        count = len(time_step)
        new = downhill < 0
        going_down = total(forces * velocity, batch, count) > 0
        size = total(forces.square(), batch, count).sqrt()
        speed = total(velocity.square(), batch, count).sqrt()
        along = mixing / torch.where(size > 0, size, 1.0) * speed
        mixed = (1 - mixing)[batch] * velocity + along[batch] * forces
        velocity = torch.where(going_down[batch], mixed, 0.0)
        long_enough = going_down & (downhill > self.wait)
        quicker = torch.where(
            long_enough, (time_step * self.faster).clamp(max=self.most), time_step
        )
        time_step = torch.where(going_down | new, quicker, time_step * self.slower)
        mixing = torch.where(long_enough, mixing * self.less_mixing, mixing)
        mixing = torch.where(going_down | new, mixing, self.mixing)
        downhill = torch.where(going_down, downhill + 1, 0.0)
        velocity = velocity + time_step[batch] * forces
        self.rows, self.structures = [velocity], [time_step, mixing, downhill]
        move = time_step[batch] * velocity
        length = total(move.square(), batch, count).sqrt()
        return move * (self.longest_move / length.clamp(min=self.longest_move))[batch]


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal, Math. Comput. 35, 773, 1980) with the constants of ASE.

    A first curvature of 70 eV/Å^2, the last 100 steps, and no atom moves by more than 0.2 Å: all
    atoms of a structure by less where one would.
    """

    curvature, memory, longest_move = 70.0, 100, 0.2

    def __init__(self) -> None:
        super().__init__()
        self.held = 0  # pairs of steps and changes of the gradient

    def blank(self, rows: int, structures: int) -> tuple[list[Tensor], list[Tensor]]:
        row = torch.zeros(rows, 3, dtype=torch.float64)
        one = torch.zeros(structures, 1, dtype=torch.float64)
        # last places and forces, then pairs, the oldest first; whether there were any, then 1 / s y
        return [row] * (2 + 2 * self.held), [one] * (1 + self.held)

    def step(self, places: Tensor, forces: Tensor, batch: Tensor) -> Tensor:
        count = len(self.structures[0])

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return total(a * b, batch, count)

        self._remember(places, forces, batch, dot)
        pairs = list(zip(self.rows[2::2], self.rows[3::2], self.structures[1:], strict=True))
        q, weights = -forces, []
        for s, y, rho in reversed(pairs):
            weights.append(rho * dot(s, q))
            q = q - weights[-1][batch] * y
        z = q / self.curvature
        for s, y, rho in pairs:
            z = z + (weights.pop() - rho * dot(y, z))[batch] * s
        length = longest(z, batch, count)
        return -z * (self.longest_move / length.clamp(min=self.longest_move))[batch]

    def _remember(
        self,
        places: Tensor,
        forces: Tensor,
        batch: Tensor,
        dot: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        started = self.structures[0]
        if bool(started.any()):
            s = (places - self.rows[0]) * started[batch]
            y = (self.rows[1] - forces) * started[batch]
            product = dot(y, s)
            rho = torch.where(product == 0, 0.0, 1 / torch.where(product == 0, 1.0, product))
            self.rows += [s, y]
            self.structures.append(rho)
            self.held += 1
        if self.held > self.memory:
            del self.rows[2:4], self.structures[1]
            self.held -= 1
        self.rows[:2] = [places, forces]
        self.structures[0] = torch.ones_like(started)


OPTIMIZERS: dict[str, type[Optimizer]] = {"fire": FIRE, "lbfgs": LBFGS}
