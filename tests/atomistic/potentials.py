"""Small potentials in float64 and structures of ASE that they are run on."""

from __future__ import annotations

from typing import Any

import torch
from ase import Atoms

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


def ethanol() -> Atoms:
    return Atoms(NUMBERS.numpy(), ETHANOL.numpy())


def crystal() -> Atoms:
    return Atoms(CRYSTAL_NUMBERS.numpy(), CRYSTAL.numpy(), cell=CELL.numpy(), pbc=True)
