"""A head for the stress: one structure or many, in pieces, lone atoms, ASE, wrong options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.io import write

from surform.atomistic.calculator import Calculator
from surform.atomistic.symmetric_tensors import rescaled, symmetric_tensors
from surform.data.atoms_files import open_atoms
from surform.data.normalizers import Normalizer
from tests.atomistic.potentials import crystal, ethanol, potential
from tests.atomistic.structures import (
    CELL,
    CRYSTAL,
    CRYSTAL_NUMBERS,
    ETHANOL,
    NUMBERS,
    measured,
    network,
    turn,
)

STRESS = {"stress": "both", "depth": 1}


def close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_components_are_those_of_orthonormal_tensors():
    generator = torch.Generator().manual_seed(0)
    trace, rest = (torch.randn(shape, generator=generator).double() for shape in ((4,), (4, 5)))
    tensors = symmetric_tensors(trace, rest)
    close(tensors, tensors.transpose(1, 2))
    close(tensors.square().sum((1, 2)), trace.square() + rest.square().sum(1))
    close(tensors.diagonal(dim1=1, dim2=2).sum(1), 3**0.5 * trace)
    moved = rescaled(tensors, (2.0, 1.0), (3.0, -1.0))
    close(moved, symmetric_tensors(2 * trace + 1, 3 * rest - 1))


@pytest.mark.parametrize("ends", ["both", "target"])
def test_structures_in_one_batch_and_edges_in_pieces(ends, monkeypatch):
    net = network(**STRESS | {"stress": ends})
    alone = measured(net, CRYSTAL, CRYSTAL_NUMBERS, cell=CELL).stress
    assert float((alone[0] - alone[0, 0, 0] * torch.eye(3)).abs().max()) > 1e-4
    positions = torch.cat((CRYSTAL, ETHANOL, torch.zeros(1, 3).double()))
    numbers = torch.cat((CRYSTAL_NUMBERS, NUMBERS, torch.tensor([3])))
    given = {
        "cell": torch.stack((CELL, torch.zeros(3, 3).double(), torch.zeros(3, 3).double())),
        "pbc": torch.tensor([[True] * 3, [False] * 3, [False] * 3]),
        "batch": torch.tensor([0] * 3 + [1] * 9 + [2]),
    }
    both = measured(net, positions, numbers, **given).stress
    close(both[0], alone[0])
    assert both.isfinite().all()  # of a lone atom as well
    monkeypatch.setattr("surform.atomistic.edges._PIECE", 16)
    with torch.no_grad():
        close(measured(net, positions, numbers, **given).stress, both)


def test_the_trace_does_not_turn():
    net, r = network(**STRESS, activation="gate", grid_mlp=False), turn()
    before = measured(net, CRYSTAL, CRYSTAL_NUMBERS, cell=CELL).stress[0]
    after = measured(net, CRYSTAL @ r.t(), CRYSTAL_NUMBERS, cell=CELL @ r.t()).stress[0]
    close(after.trace(), before.trace())


def test_ase_gets_the_stress_of_the_head():
    options = {"forces": "direct", "envelope": None, "stress": "both"}
    model = potential(**options)
    atoms = crystal()
    one = torch.ones(1).double()
    model.stress_isotropic = Normalizer(0 * one + 0.1, 0.5 * one).double()
    model.stress_anisotropic = Normalizer(0 * one, 0.2 * one).double()
    atoms.calc = Calculator(model)
    with torch.no_grad():
        found = model.evaluate(CRYSTAL, CRYSTAL_NUMBERS, cell=CELL).stress[0]
    np.testing.assert_allclose(atoms.get_stress(voigt=False), found.numpy(), atol=1e-12)


def test_predictions_hold_the_stress_of_the_head(tmp_path):
    model = potential(forces="direct", envelope=None, stress="both")
    write(tmp_path / "a.extxyz", [crystal(), ethanol()])
    model.predict_file(str(tmp_path / "a.extxyz"), tmp_path / "b.extxyz")
    found = open_atoms(tmp_path / "b.extxyz")
    with torch.no_grad():
        expected = model.evaluate(CRYSTAL, CRYSTAL_NUMBERS, cell=CELL).stress[0]
    np.testing.assert_allclose(found.read(0).stress, expected.numpy(), atol=1e-6)
    assert np.isnan(found.read(1).stress).all()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stress": "head"}, "stress is 'head', but must be one of"),
        ({"stress": "both", "lmax": 1, "mmax": 1}, "stress is 'both', but lmax is 1: choose none"),
        (
            {"stress": "target", "forces": "conservative"},
            "stress is 'target', but conservative forces come with the virial: choose none",
        ),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
