"""Lorenz-96: the equation, its order of convergence, an independent solver, and the tables."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import solve_ivp

from surform.cli import main
from surform.data.series_module import SeriesData
from surform.data.solvers.generate import generate
from surform.data.solvers.lorenz96 import advance, lorenz96, tendency
from surform.data.solvers.samples import Samples

SMALL = {"sites": 6, "frames": 120, "spin_up": 1.0}


def literal(x: np.ndarray, forcing: float) -> np.ndarray:
    """The equation index by index."""
    n = len(x)
    return np.array([(x[(i + 1) % n] - x[i - 2]) * x[i - 1] - x[i] + forcing for i in range(n)])


def test_tendency_is_the_equation():
    x = Samples(range(3)).normal(7)
    expected = np.stack([literal(row.numpy(), 8.0) for row in x])
    np.testing.assert_allclose(tendency(x, 8.0), expected, rtol=1e-13)


def test_exchange_conserves_energy():
    x = Samples(range(5)).normal(9)
    exchanged = tendency(x, 0.0) + x  # without damping and forcing
    assert float((x * exchanged).sum(-1).abs().max()) < 1e-12


def test_uniform_states_decay_to_the_forcing():
    x = torch.full((1, 5), 3.0, dtype=torch.float64)
    end = advance(x, 8.0, 200, 0.01)
    exact = 8 + (3 - 8) * math.exp(-2.0)
    torch.testing.assert_close(end, torch.full_like(end, exact), rtol=1e-9, atol=0)


def test_the_order_is_four():
    start = 8 + Samples(range(4)).normal(10)
    exact = advance(start, 8.0, 4096, 1 / 4096)
    errors = [float((advance(start, 8.0, n, 1 / n) - exact).norm()) for n in (32, 64, 128, 256)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(3.8 < p < 4.2 for p in orders), (errors, orders)


def test_an_independent_solver_agrees():
    solution = lorenz96(Samples(range(2), seed=3), sites=8, frames=41, dt=0.005, spin_up=2.0)
    states = solution.fields["x"].values.numpy()
    for state in states:
        found = solve_ivp(
            lambda t, x: literal(x, 8.0), (0, 2.0), state[0], "DOP853",
            t_eval=np.linspace(0, 2.0, 41), rtol=1e-12, atol=1e-12,
        )  # fmt: skip
        np.testing.assert_allclose(state, found.y.T, atol=2e-4)


def test_a_sample_depends_on_its_number_and_the_attractor_is_known():
    both = lorenz96(Samples(range(2), seed=1), frames=800).fields["x"].values
    second = lorenz96(Samples(range(1, 2), seed=1), frames=800).fields["x"].values
    assert torch.equal(both[1:], second)
    assert 2.0 < float(both.mean()) < 2.7  # 2.34 in the long run
    assert 3.3 < float(both.std()) < 4.0  # 3.64


@pytest.mark.parametrize("suffix", ["csv", "parquet", "nc", "zarr"])
def test_every_file_holds_the_same_series(tmp_path, suffix):
    path = generate("lorenz96", tmp_path / f"ring.{suffix}", 2, seed=5, **SMALL)
    reference = lorenz96(Samples(range(2), seed=5, dtype=torch.float32), **SMALL).fields["x"].values
    options = {"id": "sample"} if suffix in ("csv", "parquet") else {}
    data = SeriesData(path, 12, 4, **options)
    assert data.description().variates == tuple(f"x_{i}" for i in range(6))
    assert data.description().step == ""
    assert [span.id for span in data.table.spans] == ["0", "1"]
    np.testing.assert_array_equal(data.table.values.reshape(2, 120, 6), reference)
    times = data.forecast_windows().future_times([0])
    np.testing.assert_allclose(times[0], 0.05 * np.arange(120, 124), rtol=1e-9)
    if suffix != "csv":
        assert data.description().source["solver"] == "lorenz96"


def test_a_table_of_the_same_request_is_kept(tmp_path):
    path = generate("lorenz96", tmp_path / "ring.csv", 1, **SMALL)
    written = path.read_bytes()
    assert b"sample" not in written.partition(b"\n")[0]  # one series needs no name
    assert json.loads((tmp_path / "ring.csv.json").read_text())["solver"] == "lorenz96"
    assert generate("lorenz96", path, 1, **SMALL).read_bytes() == written
    with pytest.raises(FileExistsError, match="exists with seed 0, but seed 1 is asked for"):
        generate("lorenz96", path, 1, seed=1, **SMALL)


def test_training_data_are_made_when_they_are_missing(tmp_path):
    path = str(tmp_path / "ring.nc")
    data = SeriesData(path, 12, 4, generate={"solver": "lorenz96", "samples": 1, **SMALL})
    data.setup("fit")
    assert len(data.windows("train")) == 69
    assert xr.open_dataset(path).attrs["solver"] == "lorenz96"


@pytest.mark.fault
def test_fields_are_no_tables(tmp_path, capsys):
    assert (
        main(["generate", "burgers", "--out", str(tmp_path / "a.parquet"), "--samples", "1"]) != 0
    )
    assert "must end in one of .zarr, .h5" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"must end in one of \.zarr, \.h5, \.hdf5, \.nc$"):
        generate("lorenz96", tmp_path / "a.csv", 4, shard=(0, 2), batch=1, **SMALL)


@pytest.mark.fault
def test_too_long_steps_and_bad_numbers():
    with pytest.raises(ValueError, match="blew up before time"):
        lorenz96(Samples(range(1)), frames=65, dt_frame=2.0, dt=2.0, spin_up=0)
    with pytest.raises(ValueError, match="sites is 3, but it must be at least 4"):
        lorenz96(Samples(range(1)), sites=3)
