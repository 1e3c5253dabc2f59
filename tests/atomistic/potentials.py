"""Small potentials in float64 and structures of ASE that they are run on."""

from __future__ import annotations

from typing import Any

import torch
from ase import Atoms
from ase.build import bulk
from torch import nn

from surform.atomistic.edges import envelope
from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.potential import Potential
from surform.data.normalizers import Normalizer
from tests.atomistic.structures import (
    CELL,
    CRYSTAL,
    CRYSTAL_NUMBERS,
    ETHANOL,
    NUMBERS,
    network,
)

CONSERVATIVE: dict[str, Any] = {
    "forces": "conservative", "envelope": 5, "activation": "gate", "grid_mlp": False,
    "depth": 1, "lmax": 2, "mmax": 1, "average_atoms": 1.0,
}  # fmt: skip


def potential(**options: Any) -> Potential:
    """A random network with statistics; conservative and with a gate unless told otherwise."""
    model = Potential(network(**(CONSERVATIVE | options)))
    one = torch.ones(1, dtype=torch.float64)
    model.energy, model.forces = Normalizer(0 * one - 3, 2 * one), Normalizer(0 * one, one)
    return model.double().eval()


class Morse(nn.Module):
    """D (1 - exp(-a (r - r0)))^2 between all atoms, smoothly cut: bonds that relax and swing."""

    def __init__(self, depth: float = 1.0, width: float = 2.0, length: float = 1.5) -> None:
        super().__init__()
        self.elements, self.cutoff, self.max_neighbors = 90, 5.0, None
        self.forces = "conservative"
        self.depth, self.width, self.length = depth, width, length

    def forward(self, positions, atomic_numbers, edge_index, shifts, **options) -> Energies:
        batch = options.get("batch")
        batch = torch.zeros_like(atomic_numbers) if batch is None else batch
        structures = options.get("structures") or int(batch.max()) + 1
        source, target = edge_index
        v = positions[source] - positions[target] + shifts
        with torch.enable_grad():
            v = v.requires_grad_()
            r = v.norm(dim=1)
            each = self.depth * ((1 - torch.exp(-self.width * (r - self.length))) ** 2 - 1)
            each = 0.5 * each * envelope(r, self.cutoff, 5)
            energy = each.new_zeros(structures).index_add(0, batch[target], each)
            (slope,) = torch.autograd.grad(energy.sum(), v)
        v = v.detach()
        forces = torch.zeros_like(positions).index_add(0, target, slope)
        forces = forces.index_add(0, source, slope, alpha=-1)
        virial = v.new_zeros(structures, 3, 3)
        virial = virial.index_add(0, batch[target], v[:, :, None] * slope[:, None])
        return Energies(energy.detach(), forces, virial)


def morse(**options: float) -> Potential:
    """A potential that is known in closed form."""
    model = Potential(Morse(**options))
    one = torch.ones(1)
    model.energy, model.forces = Normalizer(0 * one, one), Normalizer(0 * one, one)
    return model.double().eval()


def copper(cells: int = 2) -> Atoms:
    return bulk("Cu", cubic=True).repeat(cells)


def ethanol() -> Atoms:
    return Atoms(NUMBERS.numpy(), ETHANOL.numpy())


def crystal() -> Atoms:
    return Atoms(CRYSTAL_NUMBERS.numpy(), CRYSTAL.numpy(), cell=CELL.numpy(), pbc=True)
