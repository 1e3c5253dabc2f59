"""How well a potential keeps the symmetries of nature, in numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from surform.atomistic.evaluator import Evaluator
from surform.atomistic.potential import Potential
from surform.atomistic.system import System

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["CHECKS", "Asymmetry", "measure_symmetry"]


@dataclass(frozen=True)
class Asymmetry:
    """What changes where nothing should.

    check: its name, one of `CHECKS`. energy: the largest change [meV/atom]. forces: the largest
    change of a component [meV/Å]; None: no forces. relative: root mean square of the change of
    forces over that of forces, the largest of all structures; NaN where there are no forces.
    """

    check: str
    energy: float
    forces: float | None
    relative: float


class _Answer(NamedTuple):
    energy: Tensor  # (1,) [eV]
    forces: Tensor | None  # (n, 3) [eV/Å]


def measure_symmetry(
    model: Potential | str | os.PathLike[str],
    structures: Sequence[Atoms],
    *,
    dtype: torch.dtype | str | None = "float64",
    device: torch.device | str | None = None,
    tries: int = 3,
) -> list[Asymmetry]:
    """Do to structures what must not matter, and see what it changes; the worst of all.

    Args:
        structures: of ASE, such as come from the data of interest.
        dtype: float64 shows the network itself; float32 what rounding adds.
        tries: random frames, turns, orders of each structure.

    Raises:
        ValueError: no structures, or some that the model cannot take.
    """
    if not structures or tries < 1:
        raise ValueError("symmetries need at least one structure, and one try")
    evaluator = Evaluator(model, device, dtype)
    found = []
    for name, check in CHECKS.items():
        energy, forces, relative = 0.0, None, float("nan")
        for atoms in structures:
            draw = torch.Generator().manual_seed(0)
            system = System.of([atoms])
            plain = _ask(evaluator, system)
            for _ in range(tries):
                for got, expected in check(evaluator, system, plain, draw):
                    change = float((got.energy - expected.energy).abs())
                    energy = max(energy, 1000 * change / len(system.numbers))
                    if got.forces is None or expected.forces is None:
                        continue
                    error = got.forces - expected.forces
                    forces = max(forces or 0.0, 1000 * float(error.abs().max()))
                    size = float(expected.forces.square().mean().sqrt())
                    if size > 0:
                        ratio = float(error.square().mean().sqrt()) / size
                        relative = ratio if relative != relative else max(relative, ratio)
        found.append(Asymmetry(name, energy, forces, relative))
    return found


Pairs = Iterator[tuple[_Answer, _Answer]]


def _ask(evaluator: Evaluator, system: System) -> _Answer:
    answer = evaluator(system)
    return _Answer(answer.energy, answer.forces)


def _frames(evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator) -> Pairs:
    """Edges seen from frames turned about them, as the official code draws at each call."""
    edges = evaluator.neighbors(system)
    source, target = edges.edge_index.cpu()
    along = system.positions[source] - system.positions[target] + edges.shifts.double().cpu()
    n = normalize(along, dim=1)
    z = normalize(torch.linalg.cross(n, _normal(len(n), draw)), dim=1)
    frames = torch.stack((z, n, -torch.linalg.cross(n, z)), dim=1)
    answer = evaluator(system, edges, frames)
    yield _Answer(answer.energy, answer.forces), plain


def _rotation(evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator) -> Pairs:
    yield from _turned(evaluator, system, plain, _turn(draw))


def _mirror(evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator) -> Pairs:
    yield from _turned(evaluator, system, plain, -_turn(draw))


def _turned(evaluator: Evaluator, system: System, plain: _Answer, turn: Tensor) -> Pairs:
    moved = system.at(system.positions @ turn.t(), system.cell @ turn.t())
    forces = None if plain.forces is None else plain.forces @ turn.t()
    yield _ask(evaluator, moved), _Answer(plain.energy, forces)


def _translation(
    evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator
) -> Pairs:
    """All together anywhere, and single atoms to other images of themselves."""
    images = torch.randint(-2, 3, (len(system.numbers), 3), generator=draw).double()
    images = torch.where(system.pbc, images, 0.0) @ system.cell[0]
    moved = system.positions + 10 * _normal(1, draw) + images
    yield _ask(evaluator, system.at(moved, system.cell)), plain


def _permutation(
    evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator
) -> Pairs:
    order = torch.randperm(len(system.numbers), generator=draw)
    mixed = System(
        system.numbers[order], system.positions[order], system.batch, system.cell, system.pbc
    )
    forces = None if plain.forces is None else plain.forces[order]
    yield _ask(evaluator, mixed), _Answer(plain.energy, forces)


def _twice(evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator) -> Pairs:
    """Two cells as one along a periodic axis, or a copy far away: twice the energy."""
    periodic = system.pbc[0].nonzero()[:, 0]
    cell = system.cell.clone()
    if len(periodic):
        step = cell[0, periodic[0]].clone()
        cell[0, periodic[0]] *= 2
    else:
        width = float((system.positions.amax(0) - system.positions.amin(0)).norm())
        step = torch.tensor([width + 100.0, 0.0, 0.0], dtype=torch.float64)
    both = System(
        system.numbers.repeat(2),
        torch.cat((system.positions, system.positions + step)),
        system.batch.repeat(2),
        cell,
        system.pbc,
    )
    found = _ask(evaluator, both)
    forces = None if plain.forces is None else plain.forces.repeat(2, 1)
    half = _Answer(found.energy / 2, found.forces)
    yield half, _Answer(plain.energy, forces)


def _batch(evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator) -> Pairs:
    """Between a squeezed and a stretched copy of itself."""
    small, large = (system.at(system.positions * f, system.cell * f) for f in (0.97, 1.05))
    found = evaluator(small.joined(system).joined(large))
    n = len(system.numbers)
    forces = None if found.forces is None else found.forces[n : 2 * n]
    yield _Answer(found.energy[1:2], forces), plain


def _again(evaluator: Evaluator, system: System, plain: _Answer, draw: torch.Generator) -> Pairs:
    yield _ask(evaluator, system), plain


CHECKS: dict[str, Callable[[Evaluator, System, _Answer, torch.Generator], Pairs]] = {
    "frames of edges": _frames,
    "rotation": _rotation,
    "mirror image": _mirror,
    "translation": _translation,
    "order of atoms": _permutation,
    "twice the size": _twice,
    "others in the batch": _batch,
    "the same again": _again,
}


def _normal(rows: int, draw: torch.Generator) -> Tensor:
    return torch.randn(rows, 3, generator=draw, dtype=torch.float64)


def _turn(draw: torch.Generator) -> Tensor:
    made = torch.linalg.qr(_normal(3, draw)).Q
    return made * torch.linalg.det(made).sign()
