"""Targets of steady problems on axes of their own, such as a coarse medium behind a fine field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surform.data.description import FieldsDescription
from surform.data.fields_module import FieldsData

OPTIONS: dict[str, Any] = {
    "inputs": ["u"],
    "targets": ["a"],
    "split": {"train": 4, "test": 2},
    "batch_size": 4,
}


def make_inverse(samples: int = 6, fine: int = 7, coarse: tuple[int, int] = (3, 2)) -> xr.Dataset:
    """Every value is distinct."""
    u = np.arange(samples * fine**2, dtype=np.float32).reshape(samples, fine, fine)
    a = -np.arange(samples * coarse[0] * coarse[1], dtype=np.float32).reshape(samples, *coarse)
    axes = {"x": fine, "y": fine, "x_coarse": coarse[0], "y_coarse": coarse[1]}
    return xr.Dataset(
        {
            "u": (("sample", "x", "y"), u, {"units": "Pa"}),
            "a": (("sample", "x_coarse", "y_coarse"), a, {"units": "m2"}),
            "weight": (("sample", "x_coarse", "y_coarse"), a / 2),
            "edge": (("sample", "y_coarse"), a[:, 0]),
            "b": (("sample", "x", "y_coarse"), np.repeat(a[:, :1], fine, axis=1)),
        },
        {name: (name, np.linspace(0, 1, n), {"units": "m"}) for name, n in axes.items()},
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    make_inverse().to_zarr(tmp_path / "inverse.zarr", consolidated=False)
    return str(tmp_path / "inverse.zarr")


@pytest.mark.parametrize("cache", ["memory", "files"])
def test_batches_hold_both_grids(path: str, cache: Any) -> None:
    data = make_inverse()
    module = FieldsData(path, cache=cache, auxiliary=["weight"], space_stride=2, **OPTIONS)
    batch = module.windows("train")[[2, 0]]
    np.testing.assert_array_equal(batch.inputs[..., 0], data["u"].values[[2, 0], ::2, ::2])
    np.testing.assert_array_equal(batch.targets[..., 0], data["a"].values[[2, 0]])
    np.testing.assert_array_equal(batch.auxiliary["weight"], data["weight"].values[[2, 0]])
    assert [len(x) for x in batch.coordinates] == [4, 4]
    assert [x.tolist() for x in batch.target_coordinates] == [[0, 0.5, 1], [0, 1]]
    assert not batch.time_window
    moved = batch.to("meta")
    assert [len(x) for x in moved.target_coordinates] == [3, 2]


def test_the_description_knows_both_grids_and_survives_json(path: str) -> None:
    module = FieldsData(path, **OPTIONS)
    about = module.description()
    assert (about.axes, about.shape) == (("x", "y"), (7, 7))
    assert (about.output_axes, about.output_shape) == (("x_coarse", "y_coarse"), (3, 2))
    assert about.coordinates["x_coarse"] == [0, 0.5, 1]
    assert about.units["y_coarse"] == "m"
    assert FieldsDescription.from_dict(json.loads(json.dumps(about.to_dict()))) == about
    module.check(about)
    same = FieldsData(path, **(OPTIONS | {"targets": ["u"]})).description()
    assert (same.target_axes, same.output_axes, same.output_shape) == ((), ("x", "y"), (7, 7))
    one_grid = replace(about, target_axes=(), target_shape=())
    with pytest.raises(ValueError, match=r"target_axes none, .* has x_coarse, y_coarse"):
        module.check(one_grid)


def test_descriptions_of_one_grid_need_not_name_targets_axes(path: str) -> None:
    values = FieldsData(path, **(OPTIONS | {"targets": ["u"]})).description().to_dict()
    old = {k: v for k, v in values.items() if not k.startswith("target_")} | {"target_steps": None}
    assert FieldsDescription.from_dict(old).output_axes == ("x", "y")


def test_targets_may_share_some_axes(path: str) -> None:
    module = FieldsData(path, space_stride=[3, 1], **(OPTIONS | {"targets": ["b"]}))
    assert module.windows("train")[[0]].targets.shape == (1, 3, 2, 1)
    assert module.description().output_shape == (3, 2)
    line = FieldsData(path, **(OPTIONS | {"targets": ["edge"]})).windows("train")[[1]]
    assert (line.inputs.shape, line.targets.shape) == ((1, 7, 7, 1), (1, 2, 1))


def test_pointwise_statistics_have_the_grid_of_their_variables(path: str) -> None:
    module = FieldsData(
        path, normalize_inputs="pointwise", normalize_targets="pointwise", **OPTIONS
    )
    inputs, targets = module.normalizers()
    assert (inputs.mean.shape, targets.mean.shape) == ((7, 7, 1), (3, 2, 1))
    a = make_inverse()["a"].values[:4]
    np.testing.assert_allclose(targets.mean[..., 0], a.mean(0), rtol=1e-6)


def test_noise_is_on_the_inputs_alone(path: str) -> None:
    clean, noisy = (
        FieldsData(path, input_noise=level, normalize_inputs="pointwise", **OPTIONS)
        for level in (0.0, 0.1)
    )
    one, other = clean.windows("test")[[0, 1]], noisy.windows("test")[[0, 1]]
    assert torch.equal(one.targets, other.targets)
    normalizer = noisy.normalizers()[0]
    noise = normalizer.normalize(other.inputs) - normalizer.normalize(one.inputs)
    assert 0.05 < noise.std() < 0.2
    assert torch.equal(other.inputs, noisy.windows("test")[[0, 1]].inputs)


def test_the_fingerprint_knows_the_targets_grid(path: str, tmp_path: Path) -> None:
    changed = make_inverse().assign_coords(x_coarse=("x_coarse", [0, 0.4, 1.0], {"units": "m"}))
    changed.to_zarr(tmp_path / "changed.zarr", consolidated=False)
    one, other = (
        FieldsData(p, **OPTIONS).description().source["fingerprint"]
        for p in (path, str(tmp_path / "changed.zarr"))
    )
    assert one != other


def test_a_bad_value_is_found_on_the_targets_grid(tmp_path: Path) -> None:
    data = make_inverse()
    data["a"][1, 2, 0] = np.nan
    data.to_zarr(tmp_path / "f.zarr", consolidated=False)
    module = FieldsData(str(tmp_path / "f.zarr"), space_stride=2, **OPTIONS)
    with pytest.raises(
        ValueError, match="a is nan at sample 1, x_coarse index 2, y_coarse index 0"
    ):
        module.windows("train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": ["a", "u"]},
            r"variable u lies on the axes \('x', 'y'\), a on \('x_coarse', 'y_coarse'\)",
        ),
        (
            {"inputs": ["u", "a"]},
            r"variable a lies on the axes \('x_coarse', 'y_coarse'\), u on \('x', 'y'\)",
        ),
        ({"auxiliary": ["edge"]}, r"variable edge lies on the axes \('y_coarse',\), u on"),
    ],
)
def test_variables_that_do_not_share_a_grid(path: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FieldsData(path, **(OPTIONS | options)).description()


def test_targets_over_the_same_axes_in_another_order(tmp_path: Path) -> None:
    data = make_inverse()
    data["c"] = data["u"].transpose("sample", "y", "x")
    data.to_zarr(tmp_path / "f.zarr", consolidated=False)
    with pytest.raises(ValueError, match=r"variable c lies on the axes \('y', 'x'\), u on \('x'"):
        FieldsData(str(tmp_path / "f.zarr"), **(OPTIONS | {"targets": ["c"]})).description()


def test_time_windows_have_one_grid(make: Callable[..., xr.Dataset], tmp_path: Path) -> None:
    flow = make()
    flow["q"] = flow["w"].isel(x=slice(0, 3)).rename(x="x_coarse").drop_vars("x_coarse")
    flow.to_zarr(tmp_path / "f.zarr", consolidated=False)
    data = FieldsData(str(tmp_path / "f.zarr"), ["w"], ["q"], input_steps=2, target_steps=1)
    with pytest.raises(ValueError, match=r"variable q lies on .* only steady problems may have"):
        data.description()


def test_test_data_on_other_grids(path: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.zarr")
    make_inverse(coarse=(5, 5)).to_zarr(other, consolidated=False)
    options = OPTIONS | {"split": {"train": 4}, "test_path": other}
    assert FieldsData(path, **options).windows("test")[[0]].targets.shape == (1, 5, 5, 1)
    with pytest.raises(ValueError, match=r"has a grid \(5, 5\), .* has \(3, 2\): 'pointwise'"):
        FieldsData(path, normalize_targets="pointwise", **options).description()
