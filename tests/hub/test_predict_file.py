"""A saved model predicts from a file, from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surform.cli.main import main
from surform.hub import load_model


@pytest.fixture
def waves(tmp_path: Path) -> str:
    x = ("x", np.linspace(0, 1, 16), {"units": "m", "periodic": 0})
    values = np.random.default_rng(0).standard_normal((3, 16)).astype("float32")
    data = xr.Dataset({"a": (("sample", "x"), values, {"units": "m s-1"})}, {"x": x})
    data.to_zarr(tmp_path / "waves.zarr", consolidated=False)
    return str(tmp_path / "waves.zarr")


def test_the_command_line_writes_what_the_model_predicts(saved, waves, tmp_path):
    out = tmp_path / "predicted.zarr"
    words = ["predict", "--ckpt_path", str(saved), "--data.path", waves, "--out", str(out)]
    for more in ([], ["--data.batch_size", "2"]):  # the second time it replaces its own result
        assert main([*words, *more]) == 0
    found = xr.open_zarr(out)  # a warning would be an error
    expected = load_model(saved).predict(xr.open_zarr(waves, consolidated=False))
    np.testing.assert_allclose(found["u"], expected["u"], rtol=1e-5)
    assert found["u"].attrs["units"] == "m s-1"
    assert found.attrs["made_by"] == "surform predict"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("waves.zarr", [], "would replace the data it is made from"),
        ("p.nc", [], "is written to a folder that ends in .zarr"),
        ("p.zarr", ["--data.stepz", "3"], "no option --data.stepz: did you mean --data.steps?"),
        ("p.zarr", ["--model.net.dim", "3"], "--model: "),
    ],
)
def test_what_it_cannot_do_is_told_in_one_sentence(
    saved, waves, tmp_path, capsys, out, more, message
):
    words = ["--ckpt_path", str(saved), "--data.path", waves, "--out", str(tmp_path / out)]
    assert main(["predict", *words, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert xr.open_zarr(waves, consolidated=False)["a"].shape == (3, 16)
