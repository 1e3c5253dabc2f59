"""Statistics of whole rollouts: what numpy finds in the stored result, and the data's beside it."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch
import xarray as xr

from surform.reports.multiples import Panel
from surform.rollout import Ensemble, Statistics, Trajectories, rollout_to, statistics_of
from surform.rollout.choose import observers_for
from surform.rollout.report import rollout_report
from surform.rollout.statistics_figures import summarize_statistics
from surform.rollout.statistics_files import write_statistics
from surform.rollout.summary import left_out, summarize
from surform.rollout.turbulence_files import flow_statistics
from tests.rollout.channel import Shifting, channel, described


def rolled(steps=20, data=None, out=None, observers=None, **options):
    data = channel() if data is None else data
    observers = [Statistics(bins=16)] if observers is None else observers
    return rollout_to(out, Shifting(data), data, steps, observers=observers, **options)


def test_statistics_are_those_of_the_stored_rollout(tmp_path):
    found = rolled(30, out=tmp_path / "o.zarr", ensemble=Ensemble(2, 0.1), batch_size=1)
    u, v, w = (found[name].values for name in ("u", "v", "w"))
    over = (2, 3, 5)  # (sample, member, time, x, y, z)
    np.testing.assert_allclose(found["statistics_u_mean"], u.mean(over), atol=1e-12)
    np.testing.assert_allclose(found["statistics_w_rms"], w.std(over), atol=1e-12)
    stress = (u * v).mean(over) - u.mean(over) * v.mean(over)
    np.testing.assert_allclose(found["statistics_u_v_stress"], -stress, atol=1e-12)
    assert found["statistics_u_mean"].dims == ("sample", "member", "y")
    assert found["statistics_u_mean"].attrs["units"] == "m/s"
    power = np.abs(np.fft.rfft(v, axis=5, norm="forward"))[..., 1:] ** 2
    density = power.mean((2, 3)) * 2 / np.pi  # waves are 2 pi / 2 apart
    density[..., -1] /= 2
    np.testing.assert_allclose(found["statistics_v_spectrum_z"], density, atol=1e-14)
    centres = found["u_value"].values
    edges = np.append(centres, 2 * centres[-1] - centres[-2]) - (centres[1] - centres[0]) / 2
    inside = u[1, 0, :, :, 3].clip(edges[0], edges[-1])
    expected = np.histogram(inside, edges, density=True)[0]
    np.testing.assert_allclose(found["statistics_u_pdf"][1, 0, 3], expected, atol=1e-12)


def test_truth_is_taken_over_the_same_times_or_over_all_of_the_data():
    data = channel(frames=12)
    for start, steps, frames in ((0, 5, slice(1, 6)), (4, 7, slice(5, 12)), (4, 60, slice(0, 12))):
        found = rolled(steps, data, start=start)
        expected = data["u"].isel(time=frames).mean(("time", "x", "z"))
        np.testing.assert_allclose(found["statistics_u_mean_truth"], expected, atol=1e-12)
        assert (found["statistics_frames"] == steps).all()
        seen = found["statistics_frames_truth"].values
        assert set(seen) == {data["u"].isel(time=frames).sizes["time"]}


def test_without_known_frames_the_start_is_the_reference():
    found = rolled(9, channel(frames=1))
    assert (found["statistics_frames_truth"] == 1).all()


def test_statistics_do_not_depend_on_the_batch_size():
    data = channel(samples=3)
    one, three = (rolled(25, data, batch_size=size) for size in (1, 3))
    names = [n for n in one if str(n).startswith("statistics")]
    xr.testing.assert_allclose(one[names], three[names], rtol=1e-12)


def test_pooled_statistics_are_those_of_all_frames_together():
    data = channel(samples=3)
    found = rolled(15, data, ensemble=Ensemble(2, 0.2))
    predicted, true = statistics_of(found)
    axes = {axis: {"periodic": int(axis != "y")} for axis in "xyz"}
    for axis, attrs in axes.items():
        found[axis].attrs |= attrs
    expected = flow_statistics(found[["u", "v", "w"]], bins=None)
    names = [n for n in expected if n != "frames"]
    xr.testing.assert_allclose(predicted[names], expected[names], atol=1e-13)
    assert int(predicted["frames"]) == 15 * 6
    expected = flow_statistics(data[["u", "v", "w"]], bins=None)  # 15 steps outlast 12 frames
    xr.testing.assert_allclose(true[names], expected[names], atol=1e-13)


@pytest.fixture
def shown(monkeypatch):
    """Panels instead of pictures, which take a second each to draw."""
    panels: list[list[Panel]] = []
    place = "surform.rollout.statistics_report.multiples"
    monkeypatch.setattr(place, lambda those: panels.append(list(those)) or b"")
    monkeypatch.setattr("surform.reports.page.Page.figure", lambda self, *rest: self)
    return panels


class Fragile(Shifting):
    """The second sample grows."""

    def forward(self, inputs, coordinates):
        growth = torch.ones(len(inputs), 1, 1, 1, 1, 1, dtype=inputs.dtype)
        growth[1:2] = 1.5
        return super().forward(inputs, coordinates) * growth


def test_runs_that_blew_up_are_named_and_left_out(tmp_path, shown):
    data = channel(samples=3)
    observers = observers_for(described(data))
    found = rollout_to(None, Fragile(data), data, 20, observers=observers, blow_up=10)
    assert found["statistics_frames"].values.tolist() == [20, 0, 20]
    assert np.isnan(found["statistics_u_mean"][1]).all()
    kept = rollout_to(None, Fragile(data), data.isel(sample=[0]), 20, observers=[Statistics()])
    np.testing.assert_allclose(found["statistics_u_rms"][0], kept["statistics_u_rms"][0])
    predicted, _ = statistics_of(found)
    np.testing.assert_allclose(predicted["u_mean"], found["statistics_u_mean"].mean("sample"))
    assert left_out(found) == "sample 1"
    page = rollout_report(tmp_path / "r.html", found, title="t").read_text()
    assert "Left out, because they blew up: sample 1." in page
    assert all(np.isfinite(row["model"]) for row in summarize_statistics(found))
    written = json.loads(write_statistics(tmp_path / "s.json", found).read_text())
    assert written["left_out"] == "sample 1"


def test_when_every_run_blew_up_there_are_no_statistics(tmp_path, shown):
    class Growing(Shifting):
        def forward(self, inputs, coordinates):
            return super().forward(inputs, coordinates) * 3

    data = channel()
    observers = observers_for(described(data))
    found = rollout_to(None, Growing(data), data, 20, observers=observers, blow_up=10)
    assert statistics_of(found)[0] is None
    assert summarize_statistics(found) == []
    page = rollout_report(tmp_path / "r.html", found, title="t").read_text()
    assert "There are none: every run blew up." in page
    with pytest.raises(ValueError, match=r"every run blew up \(sample 0; sample 1\)"):
        write_statistics(tmp_path / "s.json", found)
    assert not (tmp_path / "s.json").exists()


def test_figures_are_zero_for_the_truth_itself_and_grow_with_the_error():
    data = channel(samples=3)
    found = rolled(5, data)
    names = [str(n) for n in found if str(n).endswith("_truth")]
    twin = found.assign({n.removesuffix("_truth"): found[n] for n in names})
    rows = {(r["variable"], r["figure"]): r for r in summarize_statistics(twin)}
    assert max(row["model"] for row in rows.values()) < 1e-12
    assert min(row["one true run"] for row in rows.values()) > 1e-3
    twin["statistics_u_rms"] = 1.5 * twin["statistics_u_rms"]
    worse = {(r["variable"], r["figure"]): r for r in summarize_statistics(twin)}
    assert worse["u", "rms, error over rms"]["model"] == pytest.approx(0.5, rel=0.05)
    assert worse["v", "rms, error over rms"]["model"] < 1e-12


def test_files_hold_prediction_and_truth(tmp_path):
    found = rolled(30)
    predicted, true = statistics_of(found)
    stored = json.loads(write_statistics(tmp_path / "s.json", found).read_text())
    again = xr.Dataset.from_dict(stored["prediction"])
    xr.testing.assert_allclose(again, predicted)
    assert again["u_v_stress"].attrs == predicted["u_v_stress"].attrs
    xr.testing.assert_allclose(xr.Dataset.from_dict(stored["truth"]), true)
    assert {row["variable"] for row in stored["figures"]} >= {"u", "v", "w", "u, v"}
    write_statistics(tmp_path / "s.nc", found)
    with xr.open_dataset(tmp_path / "s.nc", engine="h5netcdf") as both:
        np.testing.assert_allclose(both["w_rms_truth"], true["w_rms"])
        np.testing.assert_allclose(both["w_rms"], predicted["w_rms"])


@pytest.mark.fault
def test_what_cannot_be_done_is_one_sentence(tmp_path):
    found = rolled(3)
    with pytest.raises(ValueError, match=r"written as \.json or \.nc, not to .*s\.csv"):
        write_statistics(tmp_path / "s.csv", found)
    with pytest.raises(ValueError, match=r"no statistics to write .*: there are none"):
        write_statistics(tmp_path / "s.json", rolled(3, observers=[]))
    data = channel()
    model = Shifting(data)
    model.description = described(data).__class__(
        **{**vars(described(data)), "periodic": dict.fromkeys("xyz", False)}
    )
    with pytest.raises(ValueError, match="means over periodic axes, x, y, z are not"):
        rollout_to(None, model, data, 3, observers=[Statistics()])


def test_a_channel_is_reported_in_wall_units_beside_the_data(tmp_path, shown):
    data = channel()
    found = rolled(40, data, observers=observers_for(described(data)))
    future = Trajectories.of(data, described(data)).future(40)
    page = rollout_report(tmp_path / "r.html", found, future, title="t").read_text()
    assert "over all 12 frames of the data" in page
    profiles = {panel.title: panel for panel in shown[0]}
    mean = profiles["mean of u⁺"]
    assert mean.xlabel == "y⁺"
    y, u = mean.lines["truth"]
    np.testing.assert_allclose(y, data["y"][1:4] * 0.05 / 5e-4)
    both = data["u"].mean(("sample", "time", "x", "z")).values
    np.testing.assert_allclose(u, (both + both[::-1])[1:4] / 2 / 0.05)
    spectra = {panel.title for panel in shown[1]}
    assert {"u along x, y = 0.333", "w along z, y = 1"} <= spectra
    assert {panel.title for panel in shown[2]} >= {"u, y = 1"}
    plain = found.drop_vars("u_tau")
    shown.clear()
    rollout_report(tmp_path / "r.html", plain, future, title="t")
    assert shown[0][0].xlabel == "y [m]"
    assert len(shown[0][0].lines["prediction"][0]) == 7


def test_values_beyond_the_histogram_are_told_but_not_drawn(tmp_path, shown, monkeypatch):
    class Swelling(Shifting):
        def forward(self, inputs, coordinates):
            return super().forward(inputs, coordinates) * 1.2

    captions: list[str] = []
    draw = "surform.reports.page.Page.figure"
    monkeypatch.setattr(draw, lambda self, *rest: captions.append(rest[1]) or self)
    data = channel()
    found = rollout_to(None, Swelling(data), data, 10, observers=[Statistics(bins=16)])
    rollout_report(tmp_path / "r.html", found, title="t")
    values = found["u_value"].values
    panel = {panel.title: panel for panel in shown[-1]}["u, y = 1"]
    assert panel.ylabel == "probability density"
    for x, density in panel.lines.values():
        assert set(x) <= set(values[1:-1])
        assert (density > 0).all()
    half = (values[1] - values[0]) / 2
    beyond = (found["u"] <= values[0] + half) | (found["u"] > values[-1] - half)
    share = float(beyond.mean())
    assert share > 0.1
    assert f"Beyond the axis lie {100 * share:.2g}% of the values of u (pred" in captions[-1]


def test_a_thousand_steps_in_constant_memory(flow, describe, tmp_path):
    data = flow(samples=1, n=64, m=64)

    class Turning(torch.nn.Module):
        description = describe(data)

        def forward(self, inputs, coordinates):
            return inputs[:, -1:].roll(1, 2)

    def peak(steps: int) -> int:
        observers = observers_for(Turning.description)
        tracemalloc.start()
        out = rollout_to(tmp_path / f"{steps}.zarr", Turning(), data, steps, observers=observers)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert out["vorticity"].sizes["time"] == steps
        return top

    peak(64)  # imports and caches
    frames = 900 * 64 * 64 * 4
    assert peak(1000) - peak(100) < 0.2 * frames
    found = xr.open_zarr(tmp_path / "1000.zarr")
    field = found["vorticity"].values
    assert float(found["statistics_vorticity_rms"][0]) == pytest.approx(field.std(), rel=1e-6)
    shells = found["vorticity_kinetic_spectrum"].mean(("sample", "time"))
    assert float(shells.sum()) == pytest.approx(float(found["kinetic_energy"].mean()), rel=1e-6)
    known = found["vorticity_relative_l2"].notnull().sum("time")
    assert int(known[0]) == 10
    assert summarize(found)


@pytest.mark.slow
def test_the_report_of_a_long_rollout_reads_few_frames(tmp_path):
    steps, n = 240, 32
    time = np.arange(1.0, steps + 1)
    axes = {a: np.arange(n) * 1.0 for a in "xyz"}
    values = np.random.default_rng(0).standard_normal((1, steps, n, n, n))
    whole = values.nbytes
    stored = xr.Dataset(
        {"u": (("sample", "time", "x", "y", "z"), values), "blow_up_step": ("sample", [-1])},
        {"time": time, "lead_time": ("time", time), **axes},
    )
    stored["u"].encoding["chunks"] = (1, 8, n, n, n)
    stored.to_zarr(tmp_path / "long.zarr", zarr_format=3, consolidated=False)
    del values, stored
    long = xr.open_zarr(tmp_path / "long.zarr", chunks=None, consolidated=False)
    truth = long[["u"]].isel(time=slice(100))

    def peak(frames: int) -> int:
        tracemalloc.start()
        short = long.isel(time=slice(frames))
        page = rollout_report(tmp_path / "r.html", short, truth.isel(time=slice(frames)), title="t")
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "difference" in page.read_text()
        return top

    peak(20)  # imports and caches
    assert peak(steps) - peak(20) < 0.2 * whole
