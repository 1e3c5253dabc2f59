"""Trajectories: what is written, that it is physics, and that a stopped run goes on to the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from surform.data.atoms_files import open_atoms
from surform.data.atoms_module import AtomsData
from surform.data.solvers.generate import generate
from surform.data.solvers.md import md
from surform.data.solvers.md_systems import METALS, molecule_of

pytest.importorskip("ase")

COPPER: dict[str, Any] = {
    "crystal": "Cu", "repeat": 1, "step": 2.0, "every": 5, "equilibration": 0.05,
    "temperature": 600.0,
}  # fmt: skip


def copper(path: Path, samples: int = 12, **options: Any) -> dict[str, np.ndarray]:
    generate("md", path, samples, **(COPPER | options))
    return stored(path)


def stored(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: values[...] for name, values in file.items()}


def test_frames_are_labelled_by_the_teacher(tmp_path: Path) -> None:
    found = copper(tmp_path / "cu.h5", dtype="float64")
    assert {name: values.shape for name, values in found.items()} == {
        "atomic_numbers": (4,), "positions": (12, 4, 3), "energy": (12,), "forces": (12, 4, 3),
        "temperature": (12,), "relaxed_positions": (4, 3), "cell": (3, 3), "pbc": (3,),
        "stress": (12, 6),
    }  # fmt: skip
    from ase import Atoms
    from ase.calculators.emt import EMT

    atoms = Atoms(found["atomic_numbers"], found["positions"][7], cell=found["cell"], pbc=True)
    atoms.calc = EMT()
    assert atoms.get_potential_energy() == pytest.approx(found["energy"][7], abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), found["forces"][7], atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), found["stress"][7], atol=1e-10)
    assert abs(found["forces"]).max() > 0.1
    with h5py.File(tmp_path / "cu.h5") as file:
        assert file.attrs["solver"] == "md"
        assert str(file.attrs["method"]).startswith("EMT (ASE ")
        assert file["forces"].attrs["units"] == "eV/Å"


def test_a_trajectory_is_a_function_of_its_seed_and_longer_ones_begin_alike(tmp_path: Path) -> None:
    one = copper(tmp_path / "a.h5")
    longer = copper(tmp_path / "b.h5", samples=15)
    other = copper(tmp_path / "c.h5", seed=1)
    for name in ("positions", "energy", "forces"):
        assert np.array_equal(one[name], longer[name][:12])
        assert not np.array_equal(one[name], other[name])


def test_the_thermostat_keeps_its_temperature_and_a_weak_one_keeps_energy(tmp_path: Path) -> None:
    options = {"step": 4.0, "equilibration": 0.2, "friction": 0.05}
    warm = copper(tmp_path / "a.h5", samples=150, **options)["temperature"].mean()
    assert warm == pytest.approx(600, rel=0.1)
    dynamics = md(**(COPPER | {"friction": 1e-9, "step": 2.0, "every": 10}))
    frame = dynamics.first(dynamics.relaxed(), np.random.default_rng(0))
    totals = []
    for number in range(15):
        frame = dynamics.following(frame, np.random.default_rng(number))
        motion = (
            1.5 * len(dynamics.atoms) * 8.617333262e-5 * dynamics.temperature_of(frame.velocities)
        )
        totals.append(frame.energy + motion)
    assert np.ptp(totals) < 2e-3  # [eV], of 0.3 eV that go to and fro


def test_training_data_make_themselves(tmp_path: Path) -> None:
    options = {"solver": "md", "samples": 12, "progress": False, **COPPER}
    data = AtomsData(str(tmp_path / "cu.h5"), generate=options, cutoff=4.0)
    batch = data.samples("train")[[0, 1]]
    assert batch.pbc.all()
    assert not batch.stress.isnan().any()
    about = data.description()
    assert about.labels == ("energy", "forces", "stress")
    assert about.source["command"].startswith("surform generate md --out ")
    with pytest.raises(FileExistsError, match="exists with temperature 600"):
        AtomsData(data.path, generate=options | {"temperature": 300.0}).description()


def test_molecules_turn_about_their_center(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    generate("md", path, 3, molecule="water", teacher="emt", equilibration=0.0, every=2)
    found = open_atoms(path).read(2)
    assert found.numbers.tolist() == [8, 1, 1]
    assert not found.pbc.any()
    masses = np.array([15.999, 1.008, 1.008])[:, None]
    assert np.abs((masses * found.positions).sum(0)).max() < 1e-5


def test_names_of_molecules(tmp_path: Path) -> None:
    assert molecule_of("ethanol").get_chemical_formula() == "C2H6O"
    assert molecule_of("aspirin").get_chemical_formula() == "C9H8O4"
    (tmp_path / "a.xyz").write_text("1\n\nAr 0 0 0\n")
    assert molecule_of(str(tmp_path / "a.xyz")).get_chemical_formula() == "Ar"


def test_a_killed_run_is_continued_bit_for_bit(tmp_path: Path) -> None:
    whole = copper(tmp_path / "whole.h5", samples=40)
    path = tmp_path / "killed.h5"
    options = COPPER | {"samples": 40}
    call = f"generate('md', {str(path)!r}, **{options})"
    code = f"from surform.data.solvers.generate import generate; {call}"
    running = subprocess.Popen([sys.executable, "-c", code])
    frames = tmp_path / "killed.h5.partial" / "frames.bin"
    begun = time.monotonic()
    while not frames.exists() or frames.stat().st_size < 3000:
        assert time.monotonic() - begun < 300
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not path.exists()
    with frames.open("ab") as file:  # half a frame
        file.write(os.urandom(100))
    found = copper(path, samples=40)
    for name, values in whole.items():
        assert np.array_equal(found[name], values), name
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["killed.h5", "whole.h5"]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crystal": "Fe"}, f"crystal is 'Fe', but can be {', '.join(METALS)}"),
        ({"molecule": "etanol"}, "there is no molecule 'etanol' and no such file: try ethanol"),
        ({"molecule": "SiH4", "teacher": "emt"}, "knows .*, but not Si"),
        ({"temperature": 0.0}, "temperature is 0.0, but must be positive"),
        ({"every": 0}, "every is 0, but must be at least 1"),
        ({"equilibration": -1.0}, "equilibration is -1.0, but must not be negative"),
        ({"teacher": "dft"}, "teacher is 'dft', but it must be 'auto' or 'gfn2' or 'emt'"),
        (
            {"crystal": "Cu", "step": 200.0},
            "frame .*: the motion blew up to .* take a smaller step",
        ),
        ({"crystal": "Cu", "workers": 2}, "md makes each frame from the one before"),
        ({"crystal": "Cu", "device": "meta"}, "md computes on the CPU only"),
        ({"crystal": "Cu", "shard": (0, 2)}, "a trajectory is made in one piece"),
    ],
)
def test_faults(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        generate("md", tmp_path / "a.h5", 40, **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.fault
def test_other_suffixes_and_other_requests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.zarr must end in .h5 or .hdf5"):
        generate("md", tmp_path / "a.zarr", 4, **COPPER)
    copper(tmp_path / "a.h5", samples=4)
    with pytest.raises(FileExistsError, match="exists with samples 4, but samples 5 is asked for"):
        generate("md", tmp_path / "a.h5", 5, **COPPER)


@pytest.mark.fault
def test_a_teacher_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tblite", "tblite.ase"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'GFN2-xTB needs tblite: pip install "surform\[xtb\]"'):
        generate("md", tmp_path / "a.h5", 4)
    assert list(tmp_path.iterdir()) == []


def test_ethanol_by_gfn2(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    options = {"equilibration": 0.02, "every": 4, "samples": 4}
    for name in "ab":
        generate("md", tmp_path / f"{name}.h5", dtype="float64", **options)
    one, two = stored(tmp_path / "a.h5"), stored(tmp_path / "b.h5")
    assert np.array_equal(one["forces"], two["forces"])
    assert -310.1 < one["energy"].min() < -307.5
    assert np.abs(one["forces"].sum(1)).max() < 1e-6
