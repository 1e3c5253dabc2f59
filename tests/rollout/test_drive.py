"""Labelled rollouts: values, labels, ensembles, Zarr, blow-up, constant memory."""

from __future__ import annotations

import errno
import os
import tracemalloc

import numpy as np
import pytest
import torch
import xarray as xr

from surform.data.atomic import writer_lock
from surform.data.fields import open_fields
from surform.rollout import (
    CRPS,
    Correlation,
    EnergySpectrum,
    Ensemble,
    Mean,
    Persistence,
    RelativeL2,
    SpreadSkill,
    correlation_time,
    rollout_to,
)
from surform.rollout.choose import observers_for
from surform.rollout.summary import summarize


@pytest.fixture
def model(linear, flow, describe):
    made = linear(0.9, frames=2).double()
    made.description = describe(flow())
    return made


def test_predictions_continue_the_data_with_labels_and_units(model, flow):
    data = flow(samples=5)
    found = rollout_to(None, model, data, 20, batch_size=2)
    assert found["vorticity"].dims == ("sample", "time", "x", "y")
    assert found["vorticity"].attrs["units"] == "1/s"
    np.testing.assert_allclose(found["time"], 10.5 + 0.5 * np.arange(1, 21))
    np.testing.assert_allclose(found["lead_time"], 0.5 * np.arange(1, 21))
    assert found["time"].attrs["units"] == "s"
    assert found["x"].attrs == {"units": "m", "periodic": 1}
    known = found.isel(time=slice(10))["vorticity"]
    np.testing.assert_allclose(known, data["vorticity"].isel(time=slice(2, None)), rtol=1e-12)
    assert found.attrs["blow_up"] == "none"
    assert (found["blow_up_step"] == -1).all()


def test_start_moves_the_window_and_the_truth(model, flow):
    found = rollout_to(None, model, flow(), 4, start=3, observers=[RelativeL2()])
    np.testing.assert_allclose(found["time"], 12.0 + 0.5 * np.arange(1, 5))
    assert float(found["vorticity_relative_l2"].max()) < 1e-12


def test_errors_stop_where_the_truth_ends(model, flow):
    found = rollout_to(None, model, flow(frames=6), 9, observers=[RelativeL2(), Correlation()])
    error = found["vorticity_relative_l2"]
    assert error.dims == ("sample", "time")
    assert np.isfinite(error[:, :4]).all()
    assert np.isnan(error[:, 4:]).all()
    assert np.isfinite(found["vorticity"]).all()


def test_zarr_holds_what_memory_holds(model, flow, tmp_path):
    observers = [RelativeL2(), Mean(), EnergySpectrum(), Persistence(RelativeL2())]
    data = flow(samples=3, frames=30)
    arguments = {"observers": observers, "batch_size": 2}
    memory = rollout_to(None, model, data, 70, **arguments)
    disk = rollout_to(tmp_path / "out.zarr", model, data, 70, **arguments)
    assert disk["vorticity"].encoding["chunks"] == (1, 64, 16, 12)
    xr.testing.assert_identical(disk.load(), memory)
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "out.zarr").load(), memory)


def test_data_on_disk_are_read_piece_by_piece(model, flow, tmp_path):
    flow().to_netcdf(tmp_path / "flow.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "flow.nc", engine="h5netcdf") as data:
        found = rollout_to(None, model, data, 5, observers=[RelativeL2()])
    assert float(found["vorticity_relative_l2"].max()) < 1e-12


@pytest.mark.fault
def test_failed_rollout_leaves_nothing_behind(flow, describe, tmp_path):
    class Failing(torch.nn.Module):
        calls = 0

        def forward(self, inputs, coordinates):
            self.calls += 1
            if self.calls > 70:
                raise RuntimeError("device lost")
            return inputs[:, -1:]

    with pytest.raises(RuntimeError, match="device lost"):
        rollout_to(tmp_path / "o.zarr", Failing(), flow(), 90, description=describe(flow()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault
def test_full_disk_is_one_sentence_and_keeps_the_older_rollout(model, flow, tmp_path, monkeypatch):
    path = tmp_path / "o.zarr"
    older = rollout_to(path, model, flow(), 2).load()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("surform.rollout.store._Zarr.write", full)
    with pytest.raises(OSError, match=r"no space left to write .*o\.zarr"):
        rollout_to(path, model, flow(), 5)
    assert [p.name for p in tmp_path.iterdir()] == ["o.zarr"]
    xr.testing.assert_identical(xr.open_zarr(path).load(), older)


@pytest.mark.fault
def test_second_writer_of_a_rollout_is_refused(model, flow, tmp_path):
    path = tmp_path / "o.zarr"
    with writer_lock(path), pytest.raises(BlockingIOError, match=r"o\.zarr is being written"):
        rollout_to(path, model, flow(), 2)
    assert list(tmp_path.iterdir()) == []


def test_blow_up_ends_one_run_and_spares_the_others(flow, describe):
    class Selective(torch.nn.Module):
        def forward(self, inputs, coordinates):
            last = inputs[:, -1:]
            large = last.abs().amax((1, 2, 3, 4), keepdim=True) > 2.5
            return torch.where(large, last * 2, last)

    found = rollout_to(None, Selective(), flow(), 12, description=describe(flow()), blow_up=10)
    assert found["blow_up_step"].values.tolist() == [-1, -1, 3]
    assert np.isfinite(found["vorticity"][:2]).all()
    assert np.isfinite(found["vorticity"][2, :3]).all()
    assert np.isnan(found["vorticity"][2, 3:]).all()
    assert found.attrs["blow_up"] == (
        "sample 2: step 4 (time 12.5): vorticity is 16 times its initial size (allowed: 10)"
    )


def test_rollout_stops_early_when_every_run_has_blown_up(flow, describe, linear):
    model = linear(float("nan")).double()
    found = rollout_to(None, model, flow(), 50, description=describe(flow()), observers=[Mean()])
    assert len(model.windows) == 1
    assert "sample 1: step 1 (time 11): values that are not finite" in found.attrs["blow_up"]
    assert found["vorticity_mean"].sizes["time"] == 50


def test_ensembles_have_members_and_scores(model, flow, linear, describe):
    other = linear(0.8).double()
    other.description = model.description
    found = rollout_to(
        None,
        [model, other],
        flow(),
        8,
        ensemble=Ensemble(members=3, noise=0.05, seed=1),
        observers=[RelativeL2(), CRPS(), SpreadSkill(), Persistence(RelativeL2()), Mean()],
    )
    assert found["vorticity"].dims == ("sample", "member", "time", "x", "y")
    assert found.sizes["member"] == 6
    assert found["vorticity_relative_l2"].dims == ("sample", "member", "time")
    for name in ("crps", "spread", "relative_l2_persistence", "mean_truth"):
        assert found[f"vorticity_{name}"].dims == ("sample", "time")
    error = found["vorticity_relative_l2"].mean(("sample", "time"))
    assert (error[:3] < 0.1).all()
    assert (error[3:] > 0.3).all()


def test_noise_of_an_ensemble_does_not_depend_on_the_batch_size(model, flow):
    ensemble = Ensemble(members=2, noise=0.1)
    one, three = (
        rollout_to(None, model, flow(), 3, ensemble=ensemble, batch_size=size) for size in (1, 3)
    )
    xr.testing.assert_allclose(one["vorticity"], three["vorticity"], rtol=1e-12)
    assert float(abs(one["vorticity"][:, 0] - one["vorticity"][:, 1]).max()) > 0.01


def test_progress_counts_every_frame_once(model, flow):
    seen = []
    rollout_to(None, model, flow(), 4, batch_size=2, progress=lambda *done: seen.append(done))
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_memory_does_not_grow_with_steps(model, flow, tmp_path):
    data = flow(samples=1, n=64, m=64)
    model.frames = 1

    class Forgetful(torch.nn.Module):
        description = model.description

        def forward(self, inputs, coordinates):
            return inputs[:, -1:] * 0.999

    def peak(steps: int) -> int:
        tracemalloc.start()
        rollout_to(
            tmp_path / f"{steps}.zarr", Forgetful(), data, steps, observers=[Mean()], any_grid=True
        )
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(64)  # imports and caches
    frames = 512 * 64 * 64 * 4
    assert peak(640) - peak(128) < 0.2 * frames


def test_training_mode_returns_after_the_rollout(model, flow):
    model.train()
    rollout_to(None, model, flow(), 1)
    assert model.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "at least one step"),
        ({"steps": -3}, "at least one step, got steps -3$"),
        ({"steps": 3, "batch_size": 0}, "at least one sample, got batch_size 0$"),
        ({"steps": 3, "start": 11}, "needs 2 frames, the data have 12"),
        ({"steps": 3, "out": "flow.nc"}, r"ends in \.zarr"),
        ({"steps": 3, "blow_up": 0.5}, "must exceed 1"),
        ({"steps": 3, "ensemble": "one"}, "at least two members"),
    ],
)
def test_bad_requests_are_refused(model, flow, arguments, message, tmp_path):
    out = arguments.pop("out", None)
    if arguments.get("ensemble") == "one":
        arguments |= {"ensemble": None, "observers": [CRPS()]}
    with pytest.raises(ValueError, match=message):
        rollout_to(out and tmp_path / out, model, flow(), **arguments)


def test_models_without_a_description_need_one(linear, flow):
    with pytest.raises(ValueError, match="give `description`"):
        rollout_to(None, linear(), flow(), 2)


def test_attributes_and_coordinates_of_the_data_are_kept(model, flow, tmp_path):
    data = flow()
    data["vorticity"].attrs |= {"long_name": "vorticity", "scale": np.float32(2)}
    data = data.assign_coords(
        sample=[7, 8, 9],
        viscosity=("sample", [0.1, 0.2, 0.3], {"units": "m2 s-1"}),
        area=(("x", "y"), np.ones((16, 12)), {"units": "m2"}),
    )
    data.attrs = {"title": "decaying waves", "institution": "here"}
    for out in (None, tmp_path / "out.zarr"):
        found = rollout_to(out, model, data, 3)
        assert found["vorticity"].attrs == {"units": "1/s", "long_name": "vorticity", "scale": 2}
        assert found["sample"].values.tolist() == [7, 8, 9]
        assert found["viscosity"].attrs["units"] == "m2 s-1"
        assert found["area"].dims == ("x", "y")
        assert found["x"].attrs == data["x"].attrs
        assert found.attrs["institution"] == "here"
        assert found.attrs["title"].endswith("3 steps, from decaying waves")
        assert found.attrs["made_by"] == "surform rollout"


@pytest.mark.fault
def test_a_rollout_never_replaces_its_data(model, flow, tmp_path):
    path = tmp_path / "flow.zarr"
    flow().to_zarr(path, consolidated=False)
    for data in (open_fields(path), xr.open_zarr(path, consolidated=False, chunks=None)):
        with pytest.raises(ValueError, match="would replace the data it is made from"):
            rollout_to(path, model, data.isel(sample=slice(0, 1)), 2)
    assert xr.open_zarr(path, consolidated=False).sizes["time"] == 12


@pytest.mark.fault
def test_a_rollout_replaces_only_rollouts(model, flow, tmp_path):
    other, own = tmp_path / "other.zarr", tmp_path / "own.zarr"
    flow().to_zarr(other, consolidated=False)
    with pytest.raises(FileExistsError, match="exists and is not a rollout"):
        rollout_to(other, model, flow(), 2)
    assert xr.open_zarr(other, consolidated=False).sizes["time"] == 12
    for steps in (2, 3):
        rollout_to(own, model, flow(), steps)
    assert xr.open_zarr(own).sizes["time"] == 3


def test_one_blown_up_run_does_not_improve_the_figures(flow, describe):
    class Growing(torch.nn.Module):
        def forward(self, inputs, coordinates):
            factor = torch.tensor([20.0, 1.0, 1.0]).view(3, 1, 1, 1, 1)
            return inputs[:, -1:] * factor[: len(inputs)]

    data = flow(factor=1.0)
    found = rollout_to(
        None,
        Growing(),
        data,
        8,
        description=describe(data),
        observers=observers_for(describe(data)),
    )
    rows = {row["figure"]: row for row in summarize(found)}
    assert rows["relative L2, step 1"]["runs"] == "3 of 3"
    assert rows["relative L2, step 8"]["runs"] == "2 of 3"
    alone = correlation_time(found["vorticity_correlation"], 0.9, found["blow_up_step"])
    assert alone.values.tolist() == [1.0, np.inf, np.inf]
