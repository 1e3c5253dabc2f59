"""The inverse Darcy problem: from the pressure on a fine grid to the medium on a coarse one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from surform.cli.main import main
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.data.solvers.generate import generate
from surform.hub import load_model
from surform.operators.surrogate import FieldSurrogate

ONE = torch.ones(1)
ABOUT = FieldsDescription(
    inputs=("u",),
    targets=("a",),
    axes=("x", "y"),
    shape=(6, 4),
    coordinates={
        "x": np.linspace(0, 1, 6).tolist(),
        "y": np.linspace(0, 3, 4).tolist(),
        "x_coarse": [0.1, 0.5, 0.9],
        "y_coarse": [0.75, 2.25],
    },
    periodic={"x": False, "y": False, "x_coarse": False, "y_coarse": False},
    units={"u": "Pa", "a": "m2", "x": "m", "y": "m", "x_coarse": "m", "y_coarse": "m"},
    target_axes=("x_coarse", "y_coarse"),
    target_shape=(3, 2),
)


class Pool(nn.Module):
    """Averages over blocks of 2 x 2 points."""

    time_window = False

    def forward(self, u, coordinates):
        assert tuple(map(len, coordinates)) == u.shape[1:3]
        return nn.functional.avg_pool2d(u.movedim(-1, 1), 2).movedim(1, -1)


def pooling(**options) -> FieldSurrogate:
    model = FieldSurrogate(Pool(), **options)
    model.fit_to(ABOUT, Normalizer(0 * ONE, ONE), Normalizer(0 * ONE, ONE))
    return model


@pytest.fixture
def pressure() -> xr.Dataset:
    values = np.random.default_rng(0).random((3, 6, 4)).astype(np.float32)
    grid = {axis: (axis, ABOUT.coordinates[axis], {"units": "m"}) for axis in ("x", "y")}
    return xr.Dataset(
        {"u": (("sample", "x", "y"), values, {"units": "Pa"})}, {**grid, "sample": [7, 8, 9]}
    )


def blocks(values: np.ndarray) -> np.ndarray:
    return values.reshape(*values.shape[:-2], 3, 2, 2, 2).mean((-3, -1))


def test_predictions_lie_on_the_grid_of_the_targets(pressure):
    found = pooling().predict(pressure, batch_size=2)
    assert found["a"].dims == ("sample", "x_coarse", "y_coarse")
    np.testing.assert_allclose(found["a"], blocks(pressure["u"].values), rtol=1e-6)
    assert set(found.coords) == {"sample", "x_coarse", "y_coarse"}
    assert found["sample"].values.tolist() == [7, 8, 9]
    assert found["x_coarse"].values.tolist() == [0.1, 0.5, 0.9]
    assert found["x_coarse"].attrs == {"units": "m", "periodic": 0}
    assert found["a"].attrs == {"units": "m2"}


def test_one_sample_and_several_frames(pressure):
    one = pooling().predict(pressure.isel(sample=1, drop=True))
    assert one["a"].dims == ("x_coarse", "y_coarse")
    frames = pressure.expand_dims(time=[0.0, 1.0])
    found = pooling().predict(frames)
    assert found["a"].dims == ("sample", "time", "x_coarse", "y_coarse")


def test_truth_in_the_data_does_not_matter(pressure):
    truth = xr.DataArray(np.zeros((3, 5, 5)), dims=("sample", "x_coarse", "y_coarse"))
    given = pressure.assign(a=truth.assign_coords(x_coarse=np.arange(5)))
    xr.testing.assert_allclose(pooling().predict(given), pooling().predict(pressure))


def test_a_part_of_the_domain_is_refused_on_every_grid(pressure):
    part = pressure.isel(x=slice(0, 4))
    for any_grid in (False, True):
        with pytest.raises(ValueError, match=r"'x' runs from 0 to 0.6, .* need the whole domain"):
            pooling().predict(part, any_grid=any_grid)


def test_outputs_that_do_not_fit_the_targets_are_refused(pressure):
    fine = pressure.interp(x=np.linspace(0, 1, 12))
    with pytest.raises(ValueError, match="gives 6 points along 'x_coarse', it was trained with 3"):
        pooling().predict(fine, any_grid=True)


def test_the_zero_boundary_is_that_of_the_targets():
    output = pooling(boundary="zero").apply_boundary(torch.ones(1, 3, 2, 1))
    assert output.sum() == 0
    wide = torch.ones(1, 4, 5, 1)
    assert pooling(boundary="zero").apply_boundary(wide).sum() == 2 * 3


def test_statistics_must_fit_the_grid_of_their_side():
    point = Normalizer(torch.zeros(6, 4, 1), torch.ones(6, 4, 1))
    FieldSurrogate(Pool()).fit_to(ABOUT, point, Normalizer(0 * ONE, ONE))
    with pytest.raises(ValueError, match=r"target_normalizer have shape \(6, 4, 1\), the data \(3"):
        FieldSurrogate(Pool()).fit_to(ABOUT, Normalizer(0 * ONE, ONE), point)


def test_the_recipe_trains_tests_predicts_and_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    size = {"grid": 33, "stride": 2, "pool_stride": 8}  # pressure 17 x 17, medium 5 x 5
    tiny = {
        "data.path": "darcy.zarr",
        "data.generate": f"{{solver: darcy_inverse, samples: 10, seed: 0, {_flow(size)}}}",
        "data.split": "{train: 6, validation: 2, test: 2}",
        "model.net.dim": "12",
        "model.net.depth": "1",
        "model.net.heads": "2",
        "model.net.coarse_size": "5",
        "model.net.up_sizes": "[[5, 5], [5, 5]]",
        "model.metrics": "[relative_l2, vrmse, h1]",
        "trainer.max_epochs": "1",
        "trainer.accelerator": "cpu",
    }
    words = [word for name, value in tiny.items() for word in (f"--{name}", value)]
    code = main(["fit", "--config", "operators/galerkin-darcy-inverse", "--out", "run", *words])
    assert code == 0, capsys.readouterr().err
    report = Path("run/report.html").read_text()
    assert "grid of the targets" in report
    assert "5 x 5" in report
    model = load_model("run/model")
    assert model.description.output_shape == (5, 5)
    assert model.input_normalizer.mean.shape == (17, 17, 1)
    assert main(["test", "--ckpt_path", "run/checkpoints/last.ckpt"]) == 0
    code = main(
        ["predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--out", "predictions.zarr"]
    )
    assert code == 0, capsys.readouterr().err
    found = xr.open_zarr("predictions.zarr", chunks=None)
    assert found["a"].dims == ("sample", "x_coarse", "y_coarse")
    assert dict(found.sizes) == {"sample": 2, "x_coarse": 5, "y_coarse": 5}
    generate("darcy_inverse", "new.zarr", 2, seed=1, **size)
    new = xr.open_zarr("new.zarr", chunks=None)
    medium = model.predict(new)["a"]
    assert medium.shape == new["a"].shape
    np.testing.assert_allclose(medium["x_coarse"], new["x_coarse"], atol=1e-6)


def _flow(options: dict[str, int]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in options.items())
