"""Pieces of structures that bonds hold together."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk, molecule

from surform.atomistic.fragments import fragments


def test_molecules_and_crystals():
    water = molecule("H2O")
    assert fragments(water) == 1
    far = molecule("H2O")
    far.translate([8.0, 0, 0])
    assert fragments(water + far) == 2
    assert fragments(bulk("Cu", cubic=True).repeat(2)) == 1
    assert fragments(Atoms("Ar")) == 1


@pytest.mark.parametrize(("periodic", "pieces"), [(True, 1), (False, 2)])
def test_bonds_reach_across_periodic_boundaries(periodic, pieces):
    pair = Atoms("CC", [[0.2, 0, 0], [9.0, 0, 0]], cell=[10, 10, 10], pbc=periodic)
    assert fragments(pair) == pieces
