"""The recipes of potentials are the authors'; one of one's own trains through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import surform
from surform.atomistic.label_files import write_hdf5, write_xyz
from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.cli.lightning_cli import SurformCLI
from surform.data.atoms_files import open_atoms
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model
from tests.atomistic.atoms_toy import cluster

RECIPES = [name for name in list_recipes() if name.startswith("atomistic/")]
# parameters, epochs, rate, joint batch, weights of energy and forces
PUBLISHED = {
    "oc20-2m-83m": (83_164_802, 12, 2e-4, 64, 2, 100),
    "oc20-2m-83m-30": (83_164_802, 30, 4e-4, 64, 2, 100),
    "oc20-all-md-31m": (31_058_690, 3, 4e-4, 512, 4, 100),
    "oc20-all-md-153m": (153_602_690, 1, 4e-4, 512, 4, 100),
    "oc22-121m": (None, 6, 2e-4, 128, 4, 100),
    "omat24-31m": (None, 2, 6e-4, 512, 2.5, 20),
    "omat24-153m": (None, 2, 6e-4, 512, 2.5, 20),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_names_its_source(name: str) -> None:
    config = read_config(name)
    check_names(config)
    SurformCLI(config, build=False)
    text = find_recipe(name).read_text()
    for part in ("# Source:", "# Data:", f"# Command: surform fit --config {name}", "# Reaches:"):
        assert part in text, part


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_as_published(name: str) -> None:
    size, epochs, lr, batch, energy, forces = PUBLISHED[name]
    config = read_config(f"atomistic/{name}")
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert config["trainer"]["max_epochs"] == epochs
    optimizer = model["optimizer"]["init_args"]
    assert (optimizer["lr"], optimizer["weight_decay"]) == (lr, 1e-3)
    devices = int(find_recipe(f"atomistic/{name}").read_text().split("devices ")[1].split()[0])
    assert devices * data["batch_size"] == batch
    loss = model["loss"]["init_args"]
    assert (loss["energy"], loss["forces"]) == (energy, forces)
    assert model["ema_decay"] == 0.999
    schedule = model["schedule"]["init_args"]
    warm = 0.1 if name.startswith(("oc20-2m", "oc22")) else 0.01  # epochs
    assert schedule["warmup"] * epochs == pytest.approx(warm, rel=2e-3)
    assert (schedule["start"], schedule["final"]) == (0.2, 0.01)
    if size is not None:
        with torch.device("meta"):
            net = create_model("equiformer_v2", **model["net"]["init_args"])
        assert sum(p.numel() for p in net.parameters()) == size
        assert (
            model["normalize"]["forces_std"]
            == model["normalize"]["energy_std"]
            == 2.887317180633545
        )


SMALL = {
    "dim": 8, "depth": 1, "lmax": 2, "mmax": 1, "heads": 2, "hidden": 4, "alphas": 4, "values": 4,
    "feed_forward": 8, "edge_channels": 8, "grid_resolution": 8, "elements": 20, "cutoff": 4.0,
}  # fmt: skip


def small() -> list[str]:
    words = [w for n, v in SMALL.items() for w in (f"--model.net.{n}", str(v))]
    return [*words, "--model.net.attention_dropout", "0", "--trainer.accelerator", "cpu"]


@pytest.mark.slow
def test_structures_of_ones_own_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ase")
    monkeypatch.chdir(tmp_path)
    write_xyz(Path("mine.extxyz"), [cluster(n) for n in range(30)])
    words = ["--data.path", "mine.extxyz", "--trainer.max_epochs", "2"]
    fit = ["fit", "--config", "atomistic/own-structures", *small(), *words]
    assert main([*fit, "--out", "run"]) == 0
    assert main(["test", "--ckpt_path", "run", "--trainer.accelerator", "cpu"]) == 0
    figures = json.loads(Path("run/test.json").read_text())
    names = ("energy_mae", "energy_mae_per_atom", "force_mae", "force_rmse", "force_cosine", "efwt")
    assert {f"test/{name}/clean" for name in names} <= set(figures)
    capsys.readouterr()
    assert main(["info", "run/model"]) == 0
    shown = capsys.readouterr().out
    assert "those of single atoms are taken off: H -" in " ".join(shown.split())
    predict = ["predict", "--ckpt_path", "run", "--data.path", "mine.extxyz"]
    assert main([*predict, "--out", "found.extxyz"]) == 0
    assert main([*predict, "--out", "found.h5", "--data.batch_size", "7"]) == 0
    model = surform.load_model("run/model")
    one, other, given = (open_atoms(name) for name in ("found.extxyz", "found.h5", "mine.extxyz"))
    assert len(one) == len(other) == 30
    for number in (0, 29):
        structure = given.read(number)
        places = torch.from_numpy(structure.positions).float()
        with torch.no_grad():
            expected = model.evaluate(places, torch.from_numpy(structure.numbers))
        for found in (one.read(number), other.read(number)):
            assert found.energy == pytest.approx(float(expected.energy), rel=1e-8)
            np.testing.assert_allclose(found.forces, expected.forces, atol=1e-5)
            np.testing.assert_array_equal(found.positions, structure.positions)
    # fine-tuning goes on from there, and says what it began with
    again = [*fit[:-2], "--trainer.max_epochs", "1", "--model.weights", "run", "--out", "tuned"]
    assert main(again) == 0
    assert "Weights of run: kept" in Path("tuned/report.html").read_text()
    assert main([*predict, "--out", "found.json"]) == 2
    assert "written to a file .extxyz, .xyz, .h5, .hdf5" in capsys.readouterr().err


def test_files_hold_everything_that_is_known(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    cell = np.array([[9.0, 0.1, 0.0], [0.0, 8.0, 0.0], [0.3, 0.0, 7.0]])
    stress = np.arange(9.0).reshape(3, 3)
    stress = 0.01 * (stress + stress.T)
    held = cluster(3, cell=cell, pbc=np.array([True, True, False]), stress=stress)
    free = np.arange(len(held)) != 1
    held = cluster(3, cell=cell, pbc=np.array([True, True, False]), stress=stress, free=free)
    bare = cluster(4, energy=float("nan"), forces=cluster(4).forces * float("nan"))
    for name, write in (("a.extxyz", write_xyz), ("a.h5", write_hdf5)):
        write(tmp_path / name, [held, bare])
        source = open_atoms(str(tmp_path / name))
        found: list[Any] = [source.read(0), source.read(1)]
        for field in ("numbers", "positions", "cell", "pbc", "forces", "stress", "free"):
            np.testing.assert_array_equal(getattr(found[0], field), getattr(held, field), field)
        assert found[0].energy == held.energy
        assert np.isnan(found[1].energy)
        assert np.isnan(found[1].forces).all()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["forces"].attrs["units"] == "eV/Å"


@pytest.mark.fault
def test_what_cannot_be_predicted(tmp_path: Path) -> None:
    from surform.atomistic.potential import Potential
    from tests.atomistic.atoms_toy import ToyAtoms, describe, small_net

    model = Potential(small_net())
    model.fit_to(describe({1: -13.6, 8: -2041.5}), *ToyAtoms(1, 1).normalizers())
    write_hdf5(tmp_path / "a.h5", [cluster(n) for n in range(6)])
    strange = next(n for n in range(6) if 6 in cluster(n).numbers)
    out = tmp_path / "b.h5"
    with pytest.raises(
        ValueError, match=f"structure {strange} has C, but the model was trained on H"
    ):
        model.predict_file(str(tmp_path / "a.h5"), out)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        model.predict_file(str(tmp_path / "a.h5"), tmp_path / "a.h5")
    with pytest.raises(ValueError, match="batch_size is 0"):
        model.predict_file(str(tmp_path / "a.h5"), out, batch_size=0)
