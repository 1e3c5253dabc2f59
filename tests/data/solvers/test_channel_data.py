"""What `generate` writes of channel flows, and how it goes on."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
import xarray as xr

from surform.data.fields import open_fields
from surform.data.solvers import channel_run
from surform.data.solvers.channel import channel, laminar_reynolds
from surform.data.solvers.channel_step import BULK
from surform.data.solvers.generate import generate
from surform.data.solvers.samples import Samples
from surform.data.solvers.unfinished import Unfinished
from tests.data.solvers.channel_sizes import SMALL


def test_data_have_walls_periods_and_provenance(tmp_path):
    path = generate("channel", tmp_path / "channel.zarr", 2, **SMALL)
    with xr.open_zarr(path) as data:
        assert data.u.dims == ("sample", "time", "x", "y", "z")
        assert data.u.shape == (2, 4, 4, 9, 4)
        assert data.u.dtype == np.float32
        assert data.x.attrs["periodic"] == data.z.attrs["periodic"] == 1
        assert data.y.attrs["periodic"] == 0
        np.testing.assert_allclose(data.x, np.arange(4) * math.pi / 4)
        np.testing.assert_allclose(data.y, np.linspace(0, 2, 9))
        np.testing.assert_allclose(data.time, [0, 0.5, 1, 1.5])
        for name in "uvw":
            assert float(abs(data[name].isel(y=[0, -1])).max()) < 1e-6
        np.testing.assert_allclose(data.viscosity, 1 / 4200)
        np.testing.assert_allclose(data.reynolds_tau, data.u_tau * 4200)
        np.testing.assert_allclose(data.u_tau**2, data.wall_stress.mean("time"))
        assert (abs(data.pressure_gradient / data.u_tau**2 - 1) < 0.3).all()
        begin = 0.04 / (180 / 4200)
        assert float(data.turnovers[0, 0]) == pytest.approx(begin * float(data.u_tau[0]), rel=0.02)
        profile = data.u.mean(("sample", "time", "x", "z")).values
    weights = np.r_[0.5, np.ones(7), 0.5] / 8
    assert profile @ weights == pytest.approx(BULK, rel=0.05)


def test_one_frame_without_spin_up_is_the_noisy_start(tmp_path):
    options = {**SMALL, "frames": 1, "spin_up": 0.0, "noise": 0.3}
    data = open_fields(generate("channel", tmp_path / "channel.h5", 1, drive="pressure", **options))
    assert data.sizes["time"] == 1
    mean = data.u.mean(("sample", "time", "x", "z")).values
    np.testing.assert_allclose(mean, 1 - (data.y - 1) ** 2, atol=1e-6)
    spread = sum(float(data[name].var(("x", "z")).mean()) for name in "uvw")
    assert 0.1 < spread**0.5 < 0.4
    np.testing.assert_allclose(data.u_tau**2, 2 / 4200, rtol=1e-4)
    np.testing.assert_allclose(data.pressure_gradient, (180 / 4200) ** 2)


def test_batch_and_precision_change_nothing_but_round_off(tmp_path):
    options = {**SMALL, "frames": 2}
    both = [generate("channel", tmp_path / f"{b}.zarr", 2, batch=b, dtype="float64", **options)
            for b in (1, 2)]  # fmt: skip
    single = generate("channel", tmp_path / "single.zarr", 2, batch=2, **options)
    one, two, low = (xr.open_zarr(path).load() for path in (*both, single))
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(one[name], low[name], rtol=1e-3, atol=1e-4)


def test_a_stopped_run_goes_on_from_its_state_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(channel_run, "_CHECK", 5)
    whole = generate("channel", tmp_path / "whole.zarr", 2, **SMALL)

    real = Unfinished.save

    def eager(self, state):
        self.patience = 0.02
        real(self, state)

    def stop(fraction):
        if fraction > at:
            raise KeyboardInterrupt

    monkeypatch.setattr(Unfinished, "save", eager)
    out = tmp_path / "parts.zarr"
    for at in (0.2, 0.35, 0.8):  # noqa: B007
        with pytest.raises(KeyboardInterrupt):
            generate("channel", out, 2, progress=stop, **SMALL)
    begun = []
    monkeypatch.setattr(channel_run, "noisy_start", lambda *args: begun.append(1))
    generate("channel", out, 2, **SMALL)
    assert not begun
    xr.testing.assert_identical(xr.open_zarr(whole).load().drop_attrs(deep=False),
                                xr.open_zarr(out).load().drop_attrs(deep=False))  # fmt: skip
    assert sorted(os.listdir(tmp_path)) == ["parts.zarr", "whole.zarr"]


def test_state_that_was_cut_short_is_forgotten(tmp_path):
    state = Unfinished(tmp_path / "state.safetensors", patience=0.0)
    state.save(lambda: {"a": torch.ones(3)})
    torch.testing.assert_close(state.load()["a"], torch.ones(3))
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert state.load() == {}
    state.remove()
    assert not path.exists()
    assert Unfinished().load() == {}


def test_reynolds_numbers_are_the_published_ones():
    for tau, published in ((180, 4200), (395, 10500), (590, 16800)):
        assert laminar_reynolds(tau) == pytest.approx(published, rel=2e-3)
    assert laminar_reynolds(180) == 4200


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid_x": 7}, "grid_x is 7, but it must be an even number"),
        ({"keep_z": 3}, "keep_z is 3, but it must be an even number"),
        ({"keep_x": 16}, "keep_x=16 is more than grid_x=8"),
        ({"grid_y": 5}, "grid_y is 5, but it must be at least 8"),
        ({"keep_y": 1}, "keep_y is 1, but it must be at least 2"),
        ({"reynolds_tau": 0}, "reynolds_tau is 0"),
        ({"frames": 0}, "frames is 0"),
        ({"noise": -1}, "noise is -1"),
        ({"coarse": 1.0}, "coarse is 1.0, but it must be at least 0 and below 1"),
        ({"dt": -1.0}, "dt is -1"),
        ({"dt": 1.0, "frames": 1}, "the Courant number is .*: choose dt below 0"),
        ({"dt": 1.0, "dt_frame": 40.0}, "the solution blew up before time .*: choose dt below"),
        ({"reynolds": 20.0, "spin_up": 100.0, "dt": 0.1}, "turbulence of sample 0 has died out"),
    ],
)
def test_impossible_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        channel(Samples(range(1)), **{**SMALL, **options})
