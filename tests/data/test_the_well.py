from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from surform.data.fields import open_fields
from surform.data.fields_module import FieldsData

RNG = np.random.default_rng(0)
VARYING = {"sample_varying": True, "time_varying": True, "dim_varying": [True, True]}


def put(group: Any, name: str, values: Any, **attrs: Any) -> np.ndarray:
    group[name] = values
    group[name].attrs.update(attrs)
    return np.asarray(values)


@pytest.fixture
def well(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    path, stored = tmp_path / "well.hdf5", {}
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="toy", grid_type="cartesian", n_spatial_dims=2)
        file.attrs["n_trajectories"] = 3
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        for name, size in (("time", 6), ("x", 4), ("y", 5)):
            put(dims, name, np.linspace(0, 1, size), sample_varying=False, time_varying=False)
        for group in ("scalars", "t0_fields", "t1_fields", "t2_fields"):
            file.create_group(group)
        t0, t1, t2 = (file[f"t{i}_fields"] for i in range(3))
        stored["density"] = put(t0, "density", RNG.random((3, 6, 4, 5)), **VARYING)
        stored["mask"] = put(
            t0, "mask", RNG.random((4, 5)),
            sample_varying=False, time_varying=False, dim_varying=[True, True],
        )  # fmt: skip
        stored["slab"] = put(
            t0, "slab", RNG.random((3, 6, 4)), **(VARYING | {"dim_varying": [True, False]})
        )
        stored["thin"] = put(
            t0, "thin", RNG.random((3, 6, 1, 5)), **(VARYING | {"dim_varying": [False, True]})
        )
        stored["velocity"] = put(t1, "velocity", RNG.random((3, 6, 4, 5, 2)), **VARYING)
        stored["stress"] = put(t2, "stress", RNG.random((3, 6, 4, 5, 2, 2)), **VARYING)
        stored["nu"] = put(
            file["scalars"], "nu", RNG.random(3), sample_varying=True, time_varying=False
        )
        put(file["scalars"], "re", 7.0, sample_varying=False, time_varying=False)
        wall = file.create_group("boundary_conditions/x_periodic")
        wall.attrs.update(bc_type="PERIODIC", associated_dims=["x"])
        wall = file.create_group("boundary_conditions/y_wall")
        wall.attrs.update(bc_type="WALL", associated_dims=["y"])
    return path, stored


def test_fields_of_all_orders_become_variables(well: tuple[Path, dict]) -> None:
    path, stored = well
    opened = open_fields(path)
    assert opened["density"].dims == ("sample", "time", "x", "y")
    np.testing.assert_array_equal(opened["density"].values, stored["density"])
    np.testing.assert_array_equal(opened["velocity_y"].values, stored["velocity"][..., 1])
    np.testing.assert_array_equal(opened["stress_xy"].values, stored["stress"][..., 0, 1])
    assert {"velocity_x", "stress_xx", "stress_yx", "stress_yy"} <= set(opened.data_vars)


def test_axes_that_do_not_vary_are_repeated(well: tuple[Path, dict]) -> None:
    path, stored = well
    opened = open_fields(path)
    assert opened["mask"].dims == ("sample", "x", "y")
    np.testing.assert_array_equal(opened["mask"].values[2], stored["mask"])
    expected = np.repeat(stored["slab"][..., None], 5, -1)
    np.testing.assert_array_equal(opened["slab"].values, expected)
    expected = np.repeat(stored["thin"], 4, 2)
    np.testing.assert_array_equal(opened["thin"].values, expected)
    np.testing.assert_array_equal(opened["thin"][1, 2:4, 3, ::2].values, expected[1, 2:4, 3, ::2])


def test_scalars_and_boundaries(well: tuple[Path, dict]) -> None:
    path, stored = well
    opened = open_fields(path)
    np.testing.assert_array_equal(opened["nu"].values, stored["nu"])
    assert opened["re"].values.tolist() == [7.0] * 3
    assert (opened["x"].attrs["periodic"], opened["y"].attrs["periodic"]) == (1, 0)


def test_windows_of_several_files(well: tuple[Path, dict]) -> None:
    path, stored = well
    (path.parent / "copy.hdf5").write_bytes(path.read_bytes())
    data = FieldsData(
        str(path.parent / "*.hdf5"), ["density", "mask", "velocity_x"], ["velocity_x", "density"],
        parameters=["nu"], input_steps=2, target_steps=2, split={"train": 6}, cache="files",
    )  # fmt: skip
    windows = data.windows("train")
    assert len(windows) == 6 * 3
    batch = windows[[13]]  # sample 4, which is sample 1 of the second file, from frame 1 on
    assert batch.inputs.shape == (1, 2, 4, 5, 4)
    np.testing.assert_allclose(batch.inputs[0, ..., 0], stored["density"][1, 1:3], rtol=1e-6)
    np.testing.assert_allclose(batch.inputs[0, 1, ..., 1], stored["mask"], rtol=1e-6)
    np.testing.assert_allclose(batch.inputs[0, ..., 3].unique(), stored["nu"][1], rtol=1e-6)
    np.testing.assert_allclose(
        batch.targets[0, ..., 0], stored["velocity"][1, 3:5, ..., 0], rtol=1e-6
    )
    assert data.description().periodic == {"x": True, "y": False}


def test_a_field_of_the_wrong_size_is_named(well: tuple[Path, dict]) -> None:
    path, _ = well
    with h5py.File(path, "a") as file:
        put(file["t0_fields"], "bad", np.zeros((3, 6, 4, 4)), **VARYING)
    with pytest.raises(ValueError, match="/t0_fields/bad has 4 points along y, the file has 5"):
        open_fields(path)
