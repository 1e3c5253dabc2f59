"""`surform rollout` through the front: files, tables, exit codes, one-sentence errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from surform.cli import main
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate
from surform.registry import create_model


@pytest.fixture
def data(tmp_path):
    """Three trajectories of a drifting wave, as a file."""
    x = np.arange(12) * 2 * np.pi / 12
    time = np.arange(9) * 0.5
    wave = np.sin(x[:, None] - time[:, None, None]) * np.cos(x)
    values = (np.arange(1, 4)[:, None, None, None] * wave).astype(np.float32)
    axes = {a: (a, x, {"units": "1", "periodic": 1}) for a in ("x", "y")}
    dataset = xr.Dataset(
        {"vorticity": (("sample", "time", "x", "y"), values, {"units": "1"})},
        {"time": ("time", time, {"units": "1"}), **axes},
    )
    path = tmp_path / "flow.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def model(data, tmp_path):
    """A small FactFormer of that flow, untrained, saved."""
    torch.manual_seed(0)
    net = create_model(
        "factformer2d", input_steps=2, max_steps=2, dim=8, depth=1, heads=1, head_dim=8
    )
    saved = FieldSurrogate(net)
    with xr.open_dataset(data, engine="h5netcdf") as flow:
        coordinates = {axis: flow[axis].values.tolist() for axis in ("x", "y")}
    description = FieldsDescription(
        inputs=("vorticity",),
        targets=("vorticity",),
        axes=("x", "y"),
        shape=(12, 12),
        coordinates=coordinates,
        periodic={"x": True, "y": True},
        units={"vorticity": "1", "x": "1", "y": "1", "time": "1"},
        input_steps=2,
        target_steps=2,
        time_step=0.5,
    )
    statistics = Normalizer(torch.zeros(1), torch.ones(1))
    saved.fit_to(description, statistics, Normalizer(torch.zeros(1), torch.ones(1)))
    saved.save_pretrained(tmp_path / "run" / "model")
    return tmp_path / "run"


def test_rollout_writes_predictions_and_a_report(model, data, tmp_path, capsys):
    out, report = tmp_path / "out.zarr", tmp_path / "report.html"
    line = ["rollout", model, "--data", data, "--steps", "5", "--samples", "1:3"]
    code = main([str(word) for word in [*line, "--out", out, "--report", report]])
    printed = capsys.readouterr().out
    assert code == 0
    assert "relative L2, step 1" in printed
    assert f"wrote {out}" in printed.replace("\n", "")
    found = xr.open_zarr(out)
    assert dict(found.sizes)["sample"] == 2
    assert found["vorticity"].dims == ("sample", "time", "x", "y")
    np.testing.assert_allclose(found["time"], 0.5 + 0.5 * np.arange(1, 6))
    assert "in motion" in report.read_text()


def test_a_saved_folder_and_an_ensemble_beyond_the_truth(model, data, tmp_path, capsys):
    line = f"rollout {model / 'model'} --data {data} --steps 9 --samples 0 --ensemble 3"
    assert main([*line.split(), "--out", str(tmp_path / "e.zarr")]) == 0
    assert xr.open_zarr(tmp_path / "e.zarr").sizes["member"] == 3
    assert "crps" in capsys.readouterr().out


def test_blow_up_is_a_failed_check(model, data, capsys, monkeypatch):
    def grow(self: nn.Module, inputs, coordinates, steps=None):
        return inputs[:, -1:] * 4

    monkeypatch.setattr(FieldSurrogate, "forward", grow)
    line = f"rollout {model} --data {data} --steps 9 --blow-up 10"
    assert main(line.split()) == 1
    assert "3 of 3 runs blew up: sample 0: step 2" in capsys.readouterr().out


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--samples", "7:9"), "selects none of the samples"),
        (("--samples", "a:b"), "is a slice like 0:4"),
        (("--start", "8"), "needs 2 frames, the data have 9"),
        (("--steps", "0"), "at least one step"),
        (("--out", "prediction.nc"), "ends in .zarr"),
        (("--step", "4"), "did you mean --steps"),
        (("--data", "nowhere.zarr"), "nowhere.zarr"),
    ],
)
def test_bad_input_is_told_in_one_line(model, data, change, message, capsys, tmp_path):
    options = {"--data": str(data), "--steps": "3"} | dict([change])
    line = ["rollout", str(model), *(word for pair in options.items() for word in pair)]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.fault
def test_data_are_never_replaced(model, data, tmp_path, capsys):
    line = ["rollout", str(model), "--data", "flow.zarr", "--out", "./flow.zarr", "--steps", "2"]
    assert main(line) == 2
    assert "would replace the data" in capsys.readouterr().err


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "flow.zarr"], "would replace the data"),
        (["--report", "flow.zarr/zarr.json"], "would replace the data"),
        (["--report", "folder"], "--report folder is an existing folder"),
        (["--out", "other.zarr"], "other.zarr exists and is not a rollout"),
    ],
)
def test_nothing_else_is_replaced(model, data, tmp_path, options, message, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with xr.open_dataset(data, engine="h5netcdf") as flow:
        flow.to_zarr("flow.zarr", consolidated=False)
        flow.to_zarr("other.zarr", consolidated=False)
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    line = ["rollout", str(model), "--data", "fl*w.zarr", "--steps", "2", *options]
    assert main(line) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault
def test_unknown_models_are_told(data, capsys):
    assert main(["rollout", "nothing", "--data", str(data), "--steps", "2"]) == 2
    assert "no model 'nothing'" in capsys.readouterr().err


def test_help_has_an_example_and_needs_no_torch(capsys):
    assert main(["rollout", "--help"]) == 0
    assert "surform rollout runs/" in capsys.readouterr().out


def saved_twin(model, folder, seed):
    """Another model of the same kind."""
    twin = FieldSurrogate.from_pretrained(model / "model")
    torch.manual_seed(seed)
    for weight in twin.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    twin.save_pretrained(folder / "model")
    return twin


def test_several_models_and_the_members_of_an_ensemble_run_side_by_side(
    model, data, tmp_path, capsys
):
    from surform.uncertainty import DeepEnsemble

    twins = [saved_twin(model, tmp_path / f"twin{seed}", seed) for seed in (1, 2)]
    DeepEnsemble(twins).save_pretrained(tmp_path / "both")
    options = f"--data {data} --steps 12 --samples 0:2 --perturb 1e-3 --members 2 --seed 3"
    for name, sources in (("apart", "twin1 twin2"), ("joined", "both")):
        names = [str(tmp_path / source) for source in sources.split()]
        line = ["rollout", *names, *options.split(), "--out", str(tmp_path / f"{name}.zarr")]
        assert main(line) == 0
    assert "spread-skill, mean over time" in capsys.readouterr().out
    apart, joined = (xr.open_zarr(tmp_path / f"{n}.zarr").load() for n in ("apart", "joined"))
    assert apart["vorticity"].dims == ("sample", "member", "time", "x", "y")
    assert apart.sizes["member"] == 4
    xr.testing.assert_equal(apart["vorticity"], joined["vorticity"])
    assert np.isfinite(apart["vorticity_spread"]).all()  # past the end of the truth as well
    assert apart.attrs["noise"] == 1e-3


def test_statistics_come_by_themselves_and_into_a_file(model, data, tmp_path, capsys):
    report, file = tmp_path / "report.html", tmp_path / "statistics.json"
    line = f"rollout {model} --data {data} --steps 20 --report {report} --statistics {file}"
    assert main(line.split()) == 0
    assert "PDF, distance" in capsys.readouterr().out
    stored = json.loads(file.read_text())
    assert {"vorticity_rms", "vorticity_pdf"} <= set(stored["truth"]["data_vars"])
    assert "all 9 frames of the data" in report.read_text()


@pytest.mark.fault
def test_what_leaves_no_statistics_is_told(model, data, tmp_path, capsys):
    report, file = tmp_path / "report.html", tmp_path / "statistics.json"
    line = f"rollout {model} --data {data} --report {report} --statistics {file}"
    wild = FieldSurrogate.from_pretrained(model / "model")
    wild.target_normalizer = Normalizer(torch.zeros(1), torch.full((1,), 1e6))
    wild.save_pretrained(model / "model")
    assert main([*line.split(), "--steps", "40"]) == 2
    assert "no statistics to write" in capsys.readouterr().err
    assert "Blow-up" in report.read_text()  # what became of the runs is not lost
    report.unlink()
    closed = FieldSurrogate.from_pretrained(model / "model")
    closed.description = replace(closed.description, periodic={"x": False, "y": False})
    closed.save_pretrained(model / "model")
    assert main([*line.split(), "--steps", "3"]) == 2  # before anything is computed
    assert "means over periodic axes, x, y are not" in capsys.readouterr().err
    assert not report.exists()


def test_corrections_are_options_and_are_told(model, data, tmp_path):
    line = (
        f"rollout {model} --data {data} --steps 5 --out {tmp_path / 'o.zarr'} --damping 0.1 "
        f"--damping-cutoff 0.25 --clamp 4 --limit-energy {data} --conserve-mean vorticity"
    )
    assert main(line.split()) == 0
    found = xr.open_zarr(tmp_path / "o.zarr").load()
    assert found.attrs["corrections"] == (
        "SpectralDamping(strength=0.1, cutoff=0.25); Clamp(deviations=4.0); EnergyLimit(); "
        "ConserveMean(variables=('vorticity',))"
    )
    with xr.open_dataset(data, engine="h5netcdf") as flow:
        start = flow["vorticity"].isel(time=1).mean(("x", "y"))
    means = found["vorticity"].mean(("x", "y"))
    np.testing.assert_allclose(means, start.broadcast_like(means), atol=1e-6)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--statistics", "s.txt"], "statistics are written as .json or .nc, not to s.txt"),
        (["--statistics", "flow.nc"], "would replace the data"),
        (["--clamp", "0.5"], "more than 0.5 deviations from the mean of training"),
        (["--damping", "-1"], "the strength of damping must be above 0"),
        (["--damping-cutoff", "0.2"], "--damping-cutoff does nothing without --damping"),
        (["--perturb", "0.1"], "--perturb does nothing without --members"),
        (["--conserve-mean", "p"], "conserve is that of p: choose from vorticity"),
        (["--limit-energy", "nowhere.zarr"], "nowhere.zarr"),
        (["--members", "0"], "at least one member"),
    ],
)
def test_what_a_long_rollout_cannot_do_is_one_line(
    model, data, options, message, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert main(["rollout", str(model), "--data", str(data), "--steps", "3", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.fault
def test_models_of_other_data_do_not_run_together(model, data, tmp_path, capsys):
    other = FieldSurrogate.from_pretrained(model / "model")
    other.description = replace(other.description, time_step=0.25)
    other.save_pretrained(tmp_path / "other")
    line = ["rollout", str(model), str(tmp_path / "other"), "--data", str(data), "--steps", "3"]
    assert main(line) == 2
    assert "was trained with a time step of 0.5" in capsys.readouterr().err
