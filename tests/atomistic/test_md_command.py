"""`surform md`: a structure in, a trajectory, a log and a page out."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ase.io import read, write

from surform.cli import main, md
from surform.data.atoms_files import open_atoms
from tests.atomistic.potentials import ethanol, potential


@pytest.fixture
def saved(tmp_path, monkeypatch):
    potential().float().save_pretrained(tmp_path / "model")
    write(tmp_path / "start.extxyz", [ethanol(), ethanol()])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words):
    return main(["md", "start.extxyz", "--model", "model", *words])


WORDS = ("--temperature", "300", "--timestep", "0.1", "--interval", "2", "--steps", "6")


def test_a_trajectory_a_log_and_a_page(saved, capsys):
    assert command(*WORDS, "--out", "traj.extxyz", "--report", "md.html") == 0
    told = capsys.readouterr().out
    assert "mean temperature" in told
    assert "drift" not in told
    assert "pieces" not in told
    frames = read("traj.extxyz", index=":")
    assert [frame.info["step"] for frame in frames] == [0, 2, 4, 6]
    rows = list(csv.DictReader((saved / "traj.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "2", "4", "6"]
    for row, frame in zip(rows, frames, strict=True):
        assert float(row["potential_eV"]) == pytest.approx(frame.get_potential_energy(), abs=1e-7)
        assert float(row["temperature_K"]) == pytest.approx(frame.get_temperature(), rel=1e-4)
        total = float(row["potential_eV"]) + float(row["kinetic_eV"])
        assert float(row["total_eV"]) == pytest.approx(total, abs=1e-7)
    page = (saved / "md.html").read_text()
    assert page.count("<img") == 3
    assert "C2H6O" in page
    made = {path.name for path in saved.iterdir()}
    assert made == {"model", "start.extxyz", "traj.extxyz", "traj.csv", "md.html"}


def test_a_run_too_short_for_its_thermostat_says_so(saved, capsys):
    assert command(*WORDS, "--out", "short.extxyz") == 0
    told = capsys.readouterr().out
    assert "the run of 0.6 fs is too short for the thermostat" in told
    assert "1/friction, is 100 fs" in told
    assert command(*WORDS, "--friction", "10", "--out", "long.extxyz") == 0
    assert "too short" not in capsys.readouterr().out
    assert command(*WORDS, "--ensemble", "nve", "--out", "free.extxyz") == 0
    assert "thermostat" not in capsys.readouterr().out


def test_a_molecule_that_falls_apart_is_told(saved, capsys):
    atoms = ethanol()
    momenta = np.zeros((9, 3))
    momenta[8] = [0.0, 0.0, 60.0]  # one hydrogen leaves
    atoms.set_momenta(momenta)
    write("start.extxyz", atoms)
    assert command("--ensemble", "nve", "--steps", "20", "--out", "traj.extxyz") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "pieces held by bonds at the start 1 " in told
    assert "pieces held by bonds at the end 2 " in told


def test_constant_energy_tells_its_drift_and_arrays_carry_units(saved, capsys):
    assert command(*WORDS, "--ensemble", "nve", "--out", "traj.h5", "--dtype", "float64") == 0
    assert "drift of the energy [meV/atom/ps]" in capsys.readouterr().out
    with xr.open_dataset("traj.h5", engine="h5netcdf") as found:
        assert found.positions.dims == ("time", "atom", "xyz")
        assert found.positions.shape == (4, 9, 3)
        assert found.positions.attrs["units"] == "angstrom"
        assert found.forces.attrs["units"] == "eV angstrom-1"
        np.testing.assert_allclose(found.time, [0, 0.2, 0.4, 0.6])
        assert found.time.attrs["units"] == "fs"
        assert found.numbers.values.tolist() == ethanol().numbers.tolist()
        moved = found.positions[1] - found.positions[0]
        np.testing.assert_allclose(moved, found.velocities[0] * 0.2, rtol=0.2, atol=3e-4)
        total = found.energy + found.kinetic_energy
        assert float(abs(total - total[0]).max()) < 0.01
        energy, last = found.energy.values, found.positions[3].values
    Path("traj.h5").rename("traj.nc")
    data = open_atoms("traj.nc")  # what data: atoms reads
    assert [data.read(n).energy for n in range(4)] == energy.tolist()
    assert np.array_equal(data.read(3).positions, last)
    assert not data.read(0).pbc.any()


def test_a_run_that_was_stopped_is_finished_by_the_same_command(saved, capsys, monkeypatch):
    from surform.atomistic import simulation

    write_frame, calls = simulation._write, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write_frame(*arguments)

    monkeypatch.setattr(simulation, "_write", stopped)
    assert command(*WORDS, "--out", "traj.extxyz") == 130
    assert not (saved / "traj.extxyz").exists()
    assert len((saved / "traj.csv").read_text().splitlines()) == 3
    assert command(*WORDS, "--out", "traj.extxyz") == 0
    assert "going on from step 2" in capsys.readouterr().out
    assert command(*WORDS, "--out", "whole.extxyz") == 0
    for suffix in ("extxyz", "csv"):
        whole = (saved / f"whole.{suffix}").read_text()
        assert whole == (saved / f"traj.{suffix}").read_text()


def test_a_reader_of_the_summary_who_leaves_does_not_cost_the_run(saved, monkeypatch):
    def closed(*arguments, **options):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    words = ["start.extxyz", "--model", "model", *WORDS, "--out", "traj.extxyz"]
    parser = argparse.ArgumentParser()
    md.add_arguments(parser)
    options = parser.parse_args(words)
    with pytest.raises(BrokenPipeError):
        md.run(options)
    assert len(read("traj.extxyz", index=":")) == 4
    assert not list(saved.glob("*.partial"))


@pytest.mark.fault
def test_what_is_wrong_is_said_in_one_sentence(saved, capsys):
    (saved / "old.h5").write_text("")
    (saved / "start.csv").mkdir()
    (saved / "prices.csv").write_text("day,price\n")
    for words, message in (
        (["--out", "traj.txt"], "must end in .extxyz, .xyz, .h5, .nc"),
        (["--out", "old.h5"], "exists already"),
        (["--out", "start.extxyz"], "would replace the file that is read"),
        (["--out", "start.h5"], "existing folder"),
        (["--out", "prices.h5"], "prices.csv is no log of a run"),
        (["--out", "a.h5", "--report", "a.csv"], "different files"),
        (["--out", "a.h5", "--index", ":"], "chooses 2 structures, but must one"),
        (["--out", "a.h5", "--steps", "5"], "multiple of interval"),
    ):
        assert command(*WORDS, *words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["md", "start.extxyz", "--model", "model", "--steps", "10", "--out", "a.h5"]) == 2
    assert "langevin needs a temperature" in capsys.readouterr().err
    assert not list(saved.glob("a.h5*"))
