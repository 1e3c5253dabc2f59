from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from surform.data.fields import open_fields
from surform.data.fields_module import FieldsData

RNG = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return RNG.random(shape, dtype=np.float32)


def test_burgers_and_advection(tmp_path: Path) -> None:
    u = random(5, 7, 16)
    with h5py.File(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5", "w") as file:
        file["tensor"], file["x-coordinate"] = u, np.linspace(0, 1, 16)
        file["t-coordinate"] = np.linspace(0, 2, 8)  # one more than there are frames
    opened = open_fields(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5")
    assert opened["tensor"].dims == ("sample", "time", "x")
    assert opened.sizes["time"] == len(opened["time"]) == 7
    np.testing.assert_array_equal(opened["tensor"].values, u)


def test_darcy_flow_is_steady(tmp_path: Path) -> None:
    nu, u = random(6, 8, 8), random(6, 1, 8, 8)
    path = tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5"
    with h5py.File(path, "w") as file:
        file["nu"], file["tensor"] = nu, u
        file["x-coordinate"] = file["y-coordinate"] = np.linspace(0, 1, 8)
        file["t-coordinate"] = np.zeros(1)
        file.attrs["beta"] = 1.0
    data = FieldsData(str(path), ["nu"], ["tensor"], split={"train": 6}, batch_size=6)
    batch = data.windows("train")[[4, 2]]
    np.testing.assert_array_equal(batch.inputs[..., 0].numpy(), nu[[4, 2]])
    np.testing.assert_array_equal(batch.targets[..., 0].numpy(), u[[4, 2], 0])
    assert data.description().source["beta"] == "1.0"


@pytest.mark.parametrize("channels", [1, 2])
def test_groups_per_sample(tmp_path: Path, channels: int) -> None:
    samples = random(4, 5, 6, 3, channels)
    with h5py.File(tmp_path / "2D_diff-react.h5", "w") as file:
        for number, values in enumerate(samples):
            file[f"{number:04d}/data"] = values
            for axis, size in zip("txy", (5, 6, 3), strict=True):
                file[f"{number:04d}/grid/{axis}"] = np.linspace(-1, 1, size, dtype=np.float32)
    opened = open_fields(tmp_path / "2D_diff-react.h5")
    names = ["data"] if channels == 1 else ["data_0", "data_1"]
    assert list(opened.data_vars) == names
    for channel, name in enumerate(names):
        assert opened[name].dims == ("sample", "time", "x", "y")
        np.testing.assert_array_equal(opened[name].values, samples[..., channel])
        np.testing.assert_array_equal(opened[name][2, 1:4], samples[2, 1:4, ..., channel])


@pytest.mark.parametrize("axes", ["xy", "xyz"])
def test_compressible_flow(tmp_path: Path, axes: str) -> None:
    grid = (6, 4, 3)[: len(axes)]
    fields = {name: random(3, 5, *grid) for name in ("Vx", "Vy", "density", "pressure")}
    with h5py.File(tmp_path / "cfd.hdf5", "w") as file:
        for name, values in fields.items():
            file[name] = values
        for axis, size in zip(axes, grid, strict=True):
            file[f"{axis}-coordinate"] = np.arange(size) / size
        file["t-coordinate"] = np.arange(6.0)
    data = FieldsData(
        str(tmp_path / "cfd.hdf5"), list(fields), ["density", "Vx"], input_steps=2, target_steps=1,
        split={"train": 3}, cache="files",
    )  # fmt: skip
    batch = data.windows("train")[[4]]
    assert batch.inputs.shape == (1, 2, *grid, 4)
    np.testing.assert_array_equal(batch.inputs[0, ..., 3].numpy(), fields["pressure"][1, 1:3])
    np.testing.assert_array_equal(batch.targets[0, 0, ..., 1].numpy(), fields["Vx"][1, 3])


def test_samples_of_different_shapes_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "swe.h5", "w") as file:
        for number, size in enumerate((5, 4)):
            file[f"{number:04d}/data"] = random(3, size, 1)
            file[f"{number:04d}/grid/x"], file[f"{number:04d}/grid/t"] = (
                np.arange(size),
                np.arange(3),
            )
    with pytest.raises(ValueError, match=r"swe.h5: sample 0001 has shape \(3, 4, 1\)"):
        open_fields(tmp_path / "swe.h5")


def test_a_variable_off_the_grid_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["tensor"], file["x-coordinate"] = random(3, 5, 8), np.arange(9.0)
    with pytest.raises(ValueError, match="variable tensor has shape"):
        open_fields(tmp_path / "odd.h5")


def test_incompressible_flow_has_no_grid_and_times_per_sample(tmp_path: Path) -> None:
    velocity, particles, force = random(2, 5, 6, 4, 2), random(2, 5, 6, 4, 1), random(2, 6, 4, 2)
    path = tmp_path / "ns_incom_inhom_2d_512-0.h5"
    with h5py.File(path, "w") as file:
        file["velocity"], file["particles"], file["force"] = velocity, particles, force
        file["t"] = np.tile(np.linspace(0, 1, 5), (2, 1))
    opened = open_fields(path)
    assert opened["velocity_1"].dims == ("sample", "time", "x", "y")
    np.testing.assert_array_equal(opened["velocity_1"][1, 2:4], velocity[1, 2:4, ..., 1])
    np.testing.assert_array_equal(opened["particles"].values, particles[..., 0])
    assert opened["force_0"].dims == ("sample", "x", "y")
    np.testing.assert_allclose(opened["time"], np.linspace(0, 1, 5))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["velocity"], file["particles"] = velocity, particles
        file["t"] = np.stack([np.linspace(0, 1, 5), np.linspace(0, 2, 5)])
    with pytest.raises(ValueError, match="the samples have different times"):
        open_fields(tmp_path / "other.h5")
