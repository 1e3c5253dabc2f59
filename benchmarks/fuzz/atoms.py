"""Structures of atoms: HDF5, NumPy, extended XYZ, ASE's databases, both kinds of LMDB."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import torch

from benchmarks.fuzz.formats import Format
from surform.data.atoms_module import AtomsData
from tests.data.atom_files import NUMBERS, frames, write_hdf5, write_xyz

__all__ = ["FORMATS"]

_COUNT = 6
_WORDS = ("energy", "forces", "positions", "atomic_numbers")


def _hdf5(folder: Path) -> Path:
    return write_hdf5(folder / "water.h5", **frames(_COUNT))


def _npz(folder: Path) -> Path:
    found = frames(_COUNT)
    names = {"R": found["positions"], "E": found["energy"], "F": found["forces"], "z": NUMBERS}
    np.savez(folder / "water.npz", **names)
    return folder / "water.npz"


def _xyz(folder: Path) -> Path:
    return write_xyz(folder / "water.xyz", _COUNT)


def _database(folder: Path) -> Path:
    import ase
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    with connect(folder / "water.db") as database:
        for place, energy, forces in zip(*frames(_COUNT).values(), strict=True):
            atoms = ase.Atoms(NUMBERS, place)
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            database.write(atoms)
    return folder / "water.db"


def _rows(folder: Path) -> Path:
    """ASE's rows as fairchem packs them."""
    rows = {
        str(n + 1): {
            "numbers": NUMBERS.tolist(), "pbc": [False] * 3, "energy": energy,
            "positions": {"__ndarray__": [[3, 3], "float64", place.ravel().tolist()]},
            "cell": [[0.0] * 3] * 3, "forces": forces.tolist(),
            "constraints": [{"name": "FixAtoms", "kwargs": {"indices": [1]}}],
        }
        for n, (place, energy, forces) in enumerate(zip(*frames(_COUNT).values(), strict=True))
    }  # fmt: skip
    entries = {**rows, "nextid": _COUNT + 1}
    return _lmdb(
        folder / "water.aselmdb",
        {name: zlib.compress(json.dumps(value).encode()) for name, value in entries.items()},
    )


def _graphs(folder: Path) -> Path:
    """Pickled graphs, as ocpmodels packs them."""
    entries = {"length": pickle.dumps(_COUNT)}
    for n, (place, energy, forces) in enumerate(zip(*frames(_COUNT).values(), strict=True)):
        graph = {"pos": torch.tensor(place), "atomic_numbers": torch.tensor(NUMBERS),
                 "cell": torch.eye(3)[None] * 9, "force": torch.tensor(forces),
                 "y": float(energy), "natoms": 3}  # fmt: skip
        entries[str(n)] = pickle.dumps(graph)
    return _lmdb(folder / "water.lmdb", entries)


def _lmdb(path: Path, entries: dict[str, bytes]) -> Path:
    import lmdb

    file = lmdb.open(str(path), subdir=False, map_size=2**20, lock=False)
    with file.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key.encode(), value)
    file.close()
    return path


def _read(path: Path) -> None:
    data = AtomsData(str(path), split={"train": 4, "test": 2}, cutoff=3.0, batch_size=2)
    data.description()
    data.normalizers()
    for split in ("train", "test"):
        samples = data.samples(split)
        samples[list(range(len(samples)))]


FORMATS = {
    "atoms-hdf5": Format(_hdf5, _read, _WORDS),
    "atoms-npz": Format(_npz, _read, _WORDS),
    "atoms-xyz": Format(_xyz, _read, _WORDS),
    "atoms-ase-db": Format(_database, _read, _WORDS),
    "atoms-aselmdb": Format(_rows, _read, _WORDS),
    "atoms-lmdb": Format(_graphs, _read, _WORDS),
}
