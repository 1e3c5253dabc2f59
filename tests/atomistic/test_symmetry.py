"""Symmetries in numbers: those that networks keep, and that broken ones are found out."""

from __future__ import annotations

import pytest
import torch
from ase import Atoms
from ase.io import write

from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.symmetry import CHECKS, measure_symmetry
from surform.cli import main
from tests.atomistic.potentials import Morse, crystal, ethanol, morse, potential

PUBLISHED = {
    "noise": 0.0, "forces": "direct", "envelope": None, "activation": "separable_s2",
    "grid_mlp": True, "lmax": 4, "mmax": 2, "depth": 2,
}  # fmt: skip


def relative(model, structures=None, **options):
    found = measure_symmetry(model, structures or [ethanol(), crystal()], **options)
    assert [each.check for each in found] == list(CHECKS)
    return {each.check: each.relative for each in found}


def test_frames_of_edges_do_not_matter_on_the_published_grid():
    model = potential(**PUBLISHED, grid_resolution=18)
    fine = relative(model, [ethanol()], tries=2)
    assert fine["frames of edges"] < 1e-9
    assert relative(model, [crystal()], tries=1)["frames of edges"] < 1e-8
    assert 1e-9 < fine["rotation"] < 1e-3
    assert max(fine[name] for name in ("translation", "order of atoms")) < 1e-9
    coarse = relative(potential(**PUBLISHED, grid_resolution=None), [ethanol()], tries=1)
    assert coarse["frames of edges"] > 1e-3


def test_gates_keep_all_but_mirror_images():
    """Convolutions about an edge know left from right."""
    found = relative(potential(depth=2), tries=2)
    handed = found.pop("mirror image")
    assert max(found.values()) < 1e-10
    assert handed > 1e-4
    assert found["the same again"] == 0


def test_energies_grow_with_size_where_none_is_added_to_each_structure():
    model = potential()
    structures = [ethanol()]

    def change():
        found = measure_symmetry(model, structures, tries=1)
        return next(each.energy for each in found if each.check == "twice the size")

    # the mean of the training data is added once: half of its 3 eV for each of two molecules
    assert change() == pytest.approx(3000 / 2 / 9)
    model.energy.mean.zero_()
    assert change() < 1e-8


def test_float32_shows_rounding():
    model = potential()
    fine, rough = relative(model, tries=1), relative(model, tries=1, dtype="float32")
    assert fine["rotation"] < 1e-10 < 1e-8 < rough["rotation"] < 1e-3


def test_lone_atoms_and_small_cells_are_measured_too():
    structures = [Atoms("Mg"), Atoms("Mg", cell=[3.0, 3, 3], pbc=True)]
    model = potential()
    model.energy.mean.zero_()
    found = measure_symmetry(model, structures, tries=1)
    assert max(each.forces for each in found) < 1e-6
    assert max(each.energy for each in found) < 1e-6
    slab = crystal()
    slab.pbc = (True, False, True)
    assert relative(model, [slab])["twice the size"] < 1e-9


class Crooked(Morse):
    """Adds to the forces what breaks one symmetry."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, positions, atomic_numbers, edge_index, shifts, **options):
        found = super().forward(positions, atomic_numbers, edge_index, shifts, **options)
        added = torch.zeros_like(found.forces)
        if self.fault == "rotation":
            added[:, 0] = positions[:, 1]
        if self.fault == "order of atoms":
            added[0] = 1.0
        if self.fault == "others in the batch":
            added += options["structures"]
        if self.fault == "twice the size":
            added += len(positions)
        if self.fault == "translation":
            added += positions.abs().amax()
        return Energies(found.energy, found.forces + added, found.virial)


@pytest.mark.parametrize(
    "fault",
    ["rotation", "order of atoms", "others in the batch", "twice the size", "translation"],
)
def test_what_breaks_a_symmetry_is_found(fault):
    model = morse()
    sound = relative(model, tries=1)
    model.net = Crooked(fault)
    assert sound[fault] < 1e-9
    assert relative(model, tries=1)[fault] > 1e-3


def test_the_command_prints_a_table(tmp_path, capsys):
    potential().float().save_pretrained(tmp_path / "model")
    write(tmp_path / "some.extxyz", [ethanol(), crystal()])
    words = ["symmetry", str(tmp_path / "model")]
    assert main([*words, "--tries", "1"]) == 0
    told = capsys.readouterr().out
    assert "float64, 2 structures" in told
    assert all(name in told for name in CHECKS)
    words = [*words, str(tmp_path / "some.extxyz"), "--index", "1", "--dtype", "float32"]
    assert main([*words, "--tries", "1"]) == 0
    assert "float32, 1 structures: MgOSi" in capsys.readouterr().out
    assert main([*words, "--tries", "0"]) == 2
