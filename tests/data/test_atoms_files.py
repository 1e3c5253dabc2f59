"""Structures of atoms come out of every format alike."""

from __future__ import annotations

import json
import pickle
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from surform.data.atoms_files import holds_structures, open_atoms
from surform.data.atoms_pickle import read_graph
from surform.data.atoms_source import AtomsReading
from surform.data.atoms_units import Units
from tests.data.atom_files import NUMBERS, REST, frames, write_hdf5, write_xyz

LABELLED = AtomsReading(targets=("energy", "forces"))


def same(path: object, reading: AtomsReading = LABELLED) -> None:
    """The structures are those of the swinging molecule."""
    source, found = open_atoms(path, reading), frames()
    assert len(source) == 40
    for number in (39, 0, 7):
        one = source.read(number)
        assert one.numbers.tolist() == NUMBERS.tolist()
        np.testing.assert_allclose(one.positions, found["positions"][number], atol=1e-12)
        np.testing.assert_allclose(one.forces, found["forces"][number], atol=1e-12)
        assert one.energy == pytest.approx(found["energy"][number], abs=1e-10)
        assert one.free.all()
        assert not one.pbc.any()
        assert np.isnan(one.stress).all()
        assert one.known() == ("energy", "forces")


def test_trajectories_in_hdf5(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5")
    same(path)
    assert open_atoms(path).sizes().tolist() == [3] * 40
    assert holds_structures(str(path))
    numbers = np.tile(NUMBERS, (40, 1))
    same(write_hdf5(tmp_path / "b.h5", atomic_numbers=None, z=numbers))


def test_molecules_of_any_size_in_hdf5(tmp_path: Path) -> None:
    path = write_hdf5(
        tmp_path / "a.h5",
        atomic_numbers=np.array([8, 1, 1, 18, 6, 8]),
        positions=np.concatenate((REST, [[0, 0, 0], [0, 0, 0], [1.1, 0, 0]])),
        forces=None,
        energy=None,
        ptr=[0, 3, 4, 6],
        cell=np.stack([np.zeros((3, 3)), np.eye(3) * 5, np.zeros((3, 3))]),
        fixed=np.array([0, 1, 0, 0, 0, 1]),
        **{"props/U0": np.array([1.0, 2.0, 3.0])},
    )
    source = open_atoms(path, AtomsReading({"energy": "props/U0"}, Units.of({"energy": "meV"})))
    found = [source.read(number) for number in range(3)]
    assert [len(one) for one in found] == source.sizes().tolist() == [3, 1, 2]
    assert [one.energy for one in found] == [0.001, 0.002, 0.003]
    assert [one.free.tolist() for one in found] == [[True, False, True], [True], [True, False]]
    assert [one.pbc.all() for one in found] == [False, True, False]


def test_the_arrays_of_md17(tmp_path: Path) -> None:
    found = frames()
    np.savez(
        tmp_path / "a.npz", z=NUMBERS.astype(np.uint8), R=found["positions"], F=found["forces"],
        E=found["energy"][:, None], name=np.array("water"),
    )  # fmt: skip
    same(tmp_path / "a.npz")


def test_units_are_those_that_are_stated(tmp_path: Path) -> None:
    found = frames()
    path = write_hdf5(
        tmp_path / "a.h5",
        positions=found["positions"] / 0.529177210903,
        energy=found["energy"] / 27.211386245988,
        forces=found["forces"] * (0.529177210903 / 27.211386245988),
    )
    same(path, AtomsReading({}, Units.of({"energy": "Hartree", "length": "bohr"})))
    gradients = write_hdf5(tmp_path / "b.h5", forces=-found["forces"])
    same(gradients, AtomsReading({}, Units.of({"forces": "-eV/Angstrom"})))


def test_several_files_and_folders_are_one(tmp_path: Path) -> None:
    for name in "ab":
        write_hdf5(tmp_path / f"{name}.h5")
    (tmp_path / "notes.txt").write_text("two files")
    folder = open_atoms(tmp_path)
    assert len(folder) == len(open_atoms([tmp_path / "a.h5", tmp_path / "b.h5"])) == 80
    assert folder.read(45).where == f"{tmp_path}/b.h5, structure 5"
    assert folder.series() == [range(40), range(40, 80)]


def test_extended_xyz(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    same(write_xyz(tmp_path / "a.xyz"))
    named = write_xyz(tmp_path / "b.extxyz", energy="REF_energy", forces="REF_forces")
    same(named, AtomsReading({"energy": "REF_energy", "forces": "REF_forces"}))


def crystal():
    """Copper with an atom held, and everything that can be known of it."""
    ase = pytest.importorskip("ase")
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.constraints import FixAtoms

    atoms = ase.Atoms("Cu2", [[0, 0, 0], [1.8, 1.8, 0]], cell=[3.6, 3.6, 3.6], pbc=[1, 1, 0])
    atoms.set_constraint(FixAtoms([1]))
    atoms.calc = SinglePointCalculator(
        atoms, energy=-7.0, forces=[[0.1, 0, 0], [-0.1, 0, 0]], stress=[1.0, 2, 3, 4, 5, 6]
    )
    return atoms


def is_crystal(path: Path) -> None:
    found = open_atoms(path).read(0)
    assert found.numbers.tolist() == [29, 29]
    assert found.free.tolist() == [True, False]
    assert found.pbc.tolist() == [True, True, False]
    assert np.array_equal(found.cell, np.eye(3) * 3.6)
    assert found.energy == -7.0
    assert found.forces[:, 0].tolist() == [0.1, -0.1]
    assert found.stress.tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


def test_what_ase_writes_comes_back(tmp_path: Path) -> None:
    atoms = crystal()
    from ase.db import connect
    from ase.io import write

    write(tmp_path / "a.extxyz", atoms, columns=["symbols", "positions", "move_mask", "forces"])
    is_crystal(tmp_path / "a.extxyz")
    with connect(tmp_path / "a.db") as database:
        database.write(atoms, relaxed=-8.0)
    is_crystal(tmp_path / "a.db")
    (tmp_path / "a.db").rename(tmp_path / "100%20#1?.db")
    is_crystal(tmp_path / "100%20#1?.db")
    (tmp_path / "100%20#1?.db").rename(tmp_path / "a.db")
    assert open_atoms(tmp_path / "a.db", AtomsReading({"energy": "relaxed"})).read(0).energy == -8.0


def test_a_virial_stands_for_a_stress(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path = tmp_path / "a.xyz"
    path.write_text('1\nLattice="2 0 0 0 2 0 0 0 2" virial="8 0 0 0 16 0 0 0 24"\nAr 0 0 0\n')
    np.testing.assert_allclose(np.diag(open_atoms(path).read(0).stress), [-1, -2, -3])


def stand_in_of_pytorch_geometric(monkeypatch: pytest.MonkeyPatch):
    """Classes by the names that PyTorch Geometric's have, to make pickles with."""
    data = types.ModuleType("torch_geometric.data.data")
    storage = types.ModuleType("torch_geometric.data.storage")

    class Data:
        pass

    class GlobalStorage:
        pass

    for name in ("torch_geometric", "torch_geometric.data"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for module, cls in ((data, Data), (storage, GlobalStorage)):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return Data, GlobalStorage


GRAPH = {
    "pos": torch.arange(12.0).reshape(3, 4).T[[1, 2, 3]],  # not contiguous
    "atomic_numbers": torch.tensor([29.0, 29.0, 6.0]),
    "cell": torch.eye(3)[None] * 9,
    "force": torch.ones(3, 3, dtype=torch.float64),
    "fixed": torch.tensor([1.0, 0.0, 0.0]),
    "y": -3.5,
    "natoms": 3,
    "edge_index": None,
}


def test_graphs_of_pytorch_geometric_are_read_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data, storage = stand_in_of_pytorch_geometric(monkeypatch)
    old, new, inner = data(), data(), storage()
    vars(old).update(GRAPH)
    vars(inner).update(_mapping=GRAPH, _parent=new)
    vars(new).update(_store=inner)
    payloads = [pickle.dumps(graph, protocol=4) for graph in (old, new, GRAPH)]
    monkeypatch.undo()
    for payload in payloads:
        found = read_graph(payload, "a.lmdb")
        assert found.keys() == GRAPH.keys() - {"edge_index"}
        assert found["y"] == -3.5
        for name in ("pos", "cell", "force"):
            assert np.array_equal(found[name], GRAPH[name].numpy())
            assert found[name].dtype == GRAPH[name].numpy().dtype


def write_lmdb(path: Path, entries: dict[str, bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), subdir=False, map_size=2**24) as file, file.begin(write=True) as txn:
        for key, value in entries.items():
            txn.put(key.encode(), value)
    return path


def test_both_kinds_of_lmdb(tmp_path: Path) -> None:
    entries = {"length": pickle.dumps(2), "0": pickle.dumps(GRAPH), "1": pickle.dumps(GRAPH)}
    found = open_atoms(write_lmdb(tmp_path / "a.lmdb", entries)).read(1)
    assert found.numbers.tolist() == [29, 29, 6]
    assert found.energy == -3.5
    assert found.free.tolist() == [False, True, True]
    assert found.pbc.all()
    row = {
        "numbers": [29, 29], "positions": [[0, 0, 0], [1.8, 1.8, 0]], "pbc": [True, True, False],
        "cell": {"__ndarray__": [[3, 3], "float64", list(map(float, np.eye(3).ravel() * 3.6))]},
        "energy": -7.0, "forces": [[0.1, 0, 0], [-0.1, 0, 0]], "stress": [1, 2, 3, 4, 5, 6],
        "constraints": [{"name": "FixAtoms", "kwargs": {"indices": [1]}}],
    }  # fmt: skip
    entries = {n: zlib.compress(json.dumps(v).encode()) for n, v in {"1": row, "nextid": 2}.items()}
    is_crystal(write_lmdb(tmp_path / "a.aselmdb", entries))
