"""What is wrong with structures of atoms is said in one sentence, before training."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from surform.data.atoms_description import AtomsDescription
from surform.data.atoms_module import AtomsData
from surform.data.atoms_structure import check_structure, structure_of
from tests.data.atom_files import NUMBERS, frames, write_hdf5, write_xyz
from tests.data.test_atoms_files import GRAPH, write_lmdb

pytestmark = pytest.mark.fault


def start(path: Any, options: dict[str, Any]) -> None:
    data = AtomsData(path, **options, cutoff=3.0)
    data.description()
    data.setup("fit")
    data.setup("test")


def refused(path: Any, message: str, kind: type = ValueError, **options: Any) -> None:
    with pytest.raises(kind) as error:
        start(path if isinstance(path, dict | list) else str(path), options)
    text = str(error.value)
    assert message in text, text
    assert "\n" not in text
    assert text.count(". ") == 0


def moved(frame: int, atom: int, place: Any) -> np.ndarray:
    positions = frames()["positions"]
    positions[frame, atom] = place
    return positions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positions": moved(7, 1, [np.nan, 0, 0])},
            "structure 7 has atom 1 at [nan, 0.0, 0.0], which is no place",
        ),
        (
            {"positions": moved(7, 1, frames()["positions"][7, 2])},
            "structure 7: atoms 1 and 2 are 0 Å apart, nearer than 0.01 Å",
        ),
        (
            {"atomic_numbers": np.array([8, 1, 0])},
            "has an atom of the atomic number 0, but elements have 1 to 118",
        ),
        ({"atomic_numbers": np.array([8, 1, 1.5])}, "has atomic numbers that are not whole"),
        (
            {"atomic_numbers": np.array([8, 1])},
            "has atomic_numbers of shape (2,), but needs (3,) or (40, 3) beside 40 structures",
        ),
        ({"atomic_numbers": None}, "has no numbers: it holds energy, forces, positions"),
        ({"positions": np.zeros((40, 3, 2))}, "has positions of shape (40, 3, 2), but needs"),
        ({"positions": np.zeros((120, 3))}, "needs (T, n, 3) of a trajectory, or ptr beside"),
        (
            {"positions": np.zeros((120, 3)), "ptr": [0, 3, 100]},
            "has a ptr that does not rise from 0 to 120, the number of atoms",
        ),
        ({"energy": np.zeros(39)}, "has energy of shape (39,), but needs (40,) or (40, 1)"),
        ({"forces": np.zeros((39, 3, 3))}, "has forces of shape (39, 3, 3), but needs (40, 3, 3)"),
        ({"pbc": np.ones(3, bool)}, "is periodic along lattice vector 0, which is zero"),
        (
            {"cell": np.ones((3, 3)) * 4},
            "the periodic lattice vectors span no volume",
        ),
        ({"cell": np.full((3, 3), np.inf)}, "has a cell with numbers that are not finite"),
        (
            {"forces": None},
            "has no forces: set data.keys.forces to its name there, or leave forces out of "
            "data.targets",
        ),
        (
            {"energy": None, "total": frames()["energy"]},
            "has no energy (it holds total): set data.keys.energy",
        ),
        (
            {"energy": np.where(np.arange(40) == 7, np.nan, frames()["energy"])},
            "structure 7 has no energy",
        ),
        (
            {"forces": np.where(np.arange(9).reshape(3, 3) == 4, np.inf, frames()["forces"])},
            "has forces with numbers that are not finite",
        ),
        (
            {name: values[:0] for name, values in frames().items()},
            "a.h5 holds no structures",
        ),
        # units
        ({"positions": frames()["positions"] / 10}, "positions are probably in nm"),
        (
            {"energy": frames()["energy"] - frames()["energy"].mean() - 76.4},
            "are those of all electrons in Hartree, not in eV: set data.units.energy to Hartree",
        ),
        (
            {"energy": 20 * (frames()["energy"] + 137) - 76.4 * 627.5},
            "are those of all electrons in kcal/mol, not in eV: set data.units.energy to kcal/mol",
        ),
        (
            {"forces": frames()["forces"] * 23.06},
            "which change by 0.0434 times what forces do between frames: set data.units.forces, "
            "kcal/mol/Å fits",
        ),
        ({"forces": -frames()["forces"]}, "set data.units.forces, -eV/Å fits"),
        (
            {"energy": frames()["energy"] / 3},
            "they seem to be per atom, but must be those of whole",
        ),
    ],
)
def test_arrays(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    refused(write_hdf5(tmp_path / "a.h5", **changes), message, split={"train": 38, "test": 2})


def test_what_the_user_states_is_believed(tmp_path: Path) -> None:
    found = frames()
    energy = found["energy"] - found["energy"].mean() - 76.4
    path = write_hdf5(tmp_path / "a.h5", energy=energy, forces=-found["forces"])
    made = AtomsData(str(path), units={"energy": "eV", "forces": "eV/Å"}, cutoff=3.0)
    made.setup("fit")
    assert made.remarks() == []


def test_odd_numbers_are_remarked(tmp_path: Path) -> None:
    found = frames()
    path = write_hdf5(
        tmp_path / "a.h5", positions=found["positions"] * 1.89, forces=found["forces"] * 60
    )
    made = AtomsData(str(path), units={"forces": "eV/Å"}, cutoff=3.0)
    one, two = made.remarks()
    assert "twice a usual bond: if positions are in bohr, set data.units.length." in one
    assert "far from any equilibrium: if they are in another unit, set data.units.forces." in two


def test_truncated_hdf5(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, "a.h5 is truncated: it ends before the data do", OSError)


def test_damaged_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["atomic_numbers"] = NUMBERS
        for name, values in frames().items():
            file.create_dataset(name, data=values, compression="gzip", fletcher32=True)
        place = file["forces"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 40] ^= 255
    path.write_bytes(content)
    refused(path, "a.h5: forces cannot be read (", OSError)


def test_files_that_are_none(tmp_path: Path) -> None:
    refused(tmp_path / "a.h5", "no data at", FileNotFoundError)
    empty = tmp_path / "a.xyz"
    empty.touch()
    refused(empty, "a.xyz is empty (0 bytes)", OSError)
    (tmp_path / "a.h5").write_text("energy, forces")
    refused(tmp_path / "a.h5", "a.h5 is not an HDF5", OSError)
    (tmp_path / "a.npz").write_text("energy, forces")
    refused(tmp_path / "a.npz", "a.npz is no whole .npz file", OSError)
    np.savez(tmp_path / "b.npz", z=NUMBERS, **frames())
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-200])
    refused(tmp_path / "b.npz", "b.npz is no whole .npz file", OSError)
    (tmp_path / "a.csv").write_text("energy, forces")
    refused(tmp_path / "a.csv", "structures of atoms are read from .xyz, .extxyz, .db")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "holds no structures of atoms", FileNotFoundError)
    refused([], "an empty list of data files")


@pytest.mark.parametrize(
    ("change", "message", "kind"),
    [
        (lambda t: t.replace("H ", "Qq ", 1), "structure 0: unknown element 'Qq'", ValueError),
        (lambda t: t[: len(t) // 2], "has 3 atoms, but the file ends after", OSError),
        (
            lambda t: "three" + t[1:],
            "is no XYZ file: frame 0 begins with 'three', but must begin with its number of atoms",
            ValueError,
        ),
        (lambda t: t.replace("energy", "E_dft"), "no energy (it holds forces, E_dft)", ValueError),
        (lambda t: t.replace("pos:R:3", "pos:R:4", 1), "cannot be read: ", ValueError),
        (
            lambda t: t.replace("pos:R:3", "pos:R:" + "9" * 9, 1),
            "columns, more than the",
            ValueError,
        ),
        (
            lambda t: t.replace("pos:R:3", "pos:R:" + "9" * 9999, 1),
            "columns, more than",
            ValueError,
        ),
        (lambda t: t.replace("energy=", "energy=1e300 x=", 1), "energy of 1e+300", ValueError),
        (lambda t: "\n\n", "holds no structures", ValueError),
        (lambda t: '0\nenergy=0.0 pbc="F F F"\n', "has no atoms", ValueError),
    ],
)
def test_xyz(tmp_path: Path, change: Any, message: str, kind: type) -> None:
    pytest.importorskip("ase")
    path = write_xyz(tmp_path / "a.xyz", 12)
    path.write_text(change(path.read_text()))
    refused(path, message, kind, split={"train": 1.0})


def test_a_database_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    (tmp_path / "a.db").write_bytes(b"SQLite format 3" + bytes(200))
    refused(tmp_path / "a.db", "a.db is no ASE database: ")


class Payload:
    """What a pickle would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_a_malicious_lmdb_is_refused_and_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    good = pickle.dumps(GRAPH)
    for number, entries in enumerate(
        (
            {"0": pickle.dumps(Payload(mark)), "1": good},
            {"0": good, "1": pickle.dumps({**GRAPH, "sid": Payload(mark)}, protocol=2)},
            {"0": good, "1": good, "length": pickle.dumps(Payload(mark))},
        )
    ):
        path = write_lmdb(tmp_path / f"{number}.lmdb", entries)
        refused(path, "asks for posix.system: ", split={"train": 1.0}, references="none")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("entries", "message", "kind"),
    [
        ({"length": pickle.dumps(0)}, "holds no structures", ValueError),
        (
            {"length": pickle.dumps(2), "0": pickle.dumps(GRAPH)},
            "structure 1 is missing",
            ValueError,
        ),
        (
            {"length": pickle.dumps(10**15), "0": pickle.dumps(GRAPH)},
            "says that it holds 1000000000000000 structures, but has 2 entries",
            ValueError,
        ),
        ({"0": pickle.dumps(GRAPH)[:-30]}, "structure 0 is no whole pickle", OSError),
        ({"0": pickle.dumps([1, 2])}, "structure 0 is no structure but list", ValueError),
        ({"0": b"\x78\x9c123"}, "structure 0 is damaged", OSError),
        (
            {"0": zlib.compress(b'{"numbers": {"__ndarray__": [[1], "strange", [1]]}}')},
            "structure 0 is damaged",
            OSError,
        ),
        ({"0": pickle.dumps({"x": 1})}, "structure 0 has no numbers: it holds x", ValueError),
    ],
)
def test_lmdb(tmp_path: Path, entries: dict[str, bytes], message: str, kind: type) -> None:
    refused(write_lmdb(tmp_path / "a.lmdb", entries), message, kind, split={"train": 1.0})


def test_truncated_lmdb(tmp_path: Path) -> None:
    entries = {str(number): pickle.dumps(GRAPH) for number in range(40)}
    path = write_lmdb(tmp_path / "a.lmdb", entries)
    content = path.read_bytes()
    (tmp_path / "b.lmdb").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "b.lmdb", "b.lmdb is truncated: it ends before the data do", OSError)


def test_a_file_that_is_no_lmdb(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    (tmp_path / "a.lmdb").write_bytes(b"structures" * 1000)
    refused(tmp_path / "a.lmdb", "a.lmdb is no LMDB file that can be read", OSError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": {"train": 40, "test": "rest"}}, "split leaves nothing for test"),
        ({"split": {"train": 39, "test": 2}}, "the splits overlap"),
        ({"split": {"train": 0.5, "validation": 0.01}}, "split validation=0.01 is empty"),
        ({"split": {"train": "rest", "test": "rest"}}, "the rest to train and test"),
        ({"split": {"test": 4}}, "needs train"),
        ({"split": {"training": 4}}, "unknown split 'training'"),
        ({"split_by": "time"}, "split_by='time': choose random, blocks"),
        ({"units": {"energy": "erg"}}, "units.energy is 'erg', but can be eV, meV, Hartree"),
        ({"units": {"mass": "u"}}, "units has 'mass', but can have energy, length"),
        ({"targets": ["dipole"]}, "targets has 'dipole', but can have energy, forces, stress"),
        ({"keys": {"energy": "energies"}}, "(keys.energy): did you mean 'energy'?"),
        ({"keys": {"energie": "E"}}, "keys has 'energie', but can have energy, forces, stress"),
        ({"references": "mean"}, "references is 'mean', but can be least_squares, none"),
        ({"references": {"O": -2000.0}}, "references give no energy for H, which occur"),
        ({"references": {"Ox": -2000.0}}, "there is no element 'Ox'"),
        ({"batch_atoms": 2}, None),
        ({"batch_atoms": 20, "batch_edges": 20}, "batch_atoms or batch_edges, not both"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], message: str | None) -> None:
    path = write_hdf5(tmp_path / "a.h5")
    if message is not None:
        refused(path, message, **options)
        return
    made = AtomsData(str(path), **options, cutoff=3.0)
    with pytest.raises(ValueError, match="of the split counts 3, but a batch may have 2"):
        made.train_dataloader()


def test_elements_that_a_network_or_a_model_does_not_know(tmp_path: Path) -> None:
    made = AtomsData(str(write_hdf5(tmp_path / "a.h5")))
    with pytest.raises(ValueError, match="neighbours need a cutoff: give one, or a trainer"):
        made.setup("fit")
    net = SimpleNamespace(cutoff=3.0, max_neighbors=None, elements=8)
    made.trainer = SimpleNamespace(
        lightning_module=SimpleNamespace(surrogate=SimpleNamespace(net=net)),
        global_rank=0,
        world_size=1,
    )
    with pytest.raises(ValueError, match=r"has O, but the network knows .* set model.net.elements"):
        made.setup("fit")
    trained = AtomsDescription(elements=("H", "C"), labels=("energy",))
    with pytest.raises(ValueError, match=r"a.h5 has O, but the model was trained on H, C only"):
        made.check(trained)


def test_paths_by_split(tmp_path: Path) -> None:
    path = str(write_hdf5(tmp_path / "a.h5"))
    refused({"test": path}, "path names test, but must name train")
    refused({"train": path, "dev": path}, "unknown split 'dev' in path")
    refused({"train": path}, "split divides one set", split={"train": 0.5})


def test_names_that_are_no_text_are_shown() -> None:
    water = structure_of("a.h5", [8, 1, 1], np.eye(3))
    with pytest.raises(ValueError, match=r"a\.h5 has no energy \(it holds b'x'\)"):
        check_structure(water, ["energy"], lambda: [b"x"])  # type: ignore[list-item]
