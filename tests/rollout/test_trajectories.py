"""What of a dataset reaches the model, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from surform.rollout import Trajectories


def test_finer_data_are_sub_sampled_to_the_model(flow, describe):
    coarse = flow(frames=6)
    fine = flow(frames=12, n=32, m=24, step=0.25, factor=0.9**0.5)
    course = Trajectories.of(fine, describe(coarse))
    assert course.grid.shape == (16, 12)
    assert course.time_step == 0.5
    np.testing.assert_allclose(
        course.inputs(slice(0, 3))[..., 0], coarse["vorticity"][:, :2], rtol=1e-12
    )
    assert course.known == 4


def test_other_grids_are_kept_as_they_are_on_request(flow, describe):
    with pytest.raises(ValueError, match=r"axis 'x' has a spacing of 0.314159.*any_grid"):
        Trajectories.of(flow(n=20, m=12), describe(flow()))
    course = Trajectories.of(flow(n=20, m=12), describe(flow()), any_grid=True)
    assert course.grid.shape == (20, 12)


def test_axes_without_coordinates_are_those_of_training(flow, describe):
    data = flow().drop_vars("x")
    course = Trajectories.of(data, describe(flow()))
    assert course.grid.coordinates["x"] == flow()["x"].values.tolist()
    with pytest.raises(ValueError, match="no coordinate 'x', and their 20 points are not the 16"):
        Trajectories.of(flow(n=20).drop_vars("x"), describe(flow()))


def test_parameters_become_constant_channels(flow, describe):
    data = flow()
    data["viscosity"] = ("sample", np.array([1.0, 2.0, 3.0]))
    course = Trajectories.of(data, describe(data, parameters=("viscosity",)))
    inputs = course.inputs(slice(1, 3))
    assert inputs.shape == (2, 2, 16, 12, 2)
    assert (inputs[0, ..., 1] == 2).all()
    assert (inputs[1, ..., 1] == 3).all()


def test_static_fields_are_carried(flow, describe):
    data = flow()
    data["mask"] = data["vorticity"].isel(time=0, sample=0, drop=True) * 0 + 1
    course = Trajectories.of(data, describe(data, inputs=("vorticity", "mask")))
    assert (course.inputs(slice(0, 3))[..., 1] == 1).all()


def test_a_single_trajectory_needs_no_sample_dim(flow, describe):
    course = Trajectories.of(flow().isel(sample=1), describe(flow()))
    assert course.samples == 1


def test_one_step_models_take_the_last_frame(flow, describe):
    course = Trajectories.of(flow(), describe(flow(), input_steps=None, time_step=None), start=2)
    assert course.inputs(slice(0, 3)).shape == (3, 16, 12, 1)
    assert course.initial_time == 11.0
    assert course.lead_times(2).tolist() == [0.5, 1.0]


def test_truth_ends_with_the_data(flow, describe):
    course = Trajectories.of(flow(frames=6), describe(flow()))
    truth = course.truth(slice(0, 1), 3, 5)
    assert truth is not None
    assert truth.shape == (1, 1, 16, 12, 1)
    assert course.truth(slice(0, 1), 4, 5) is None


def _renamed(data: xr.Dataset) -> xr.Dataset:
    return data.rename(vorticity="vortcity")


def _units(data: xr.Dataset) -> xr.Dataset:
    data["vorticity"].attrs["units"] = "1/h"
    return data


def _level(data: xr.Dataset) -> xr.Dataset:
    return data.expand_dims(level=2)


def _steady(data: xr.Dataset) -> xr.Dataset:
    return data.isel(time=0, drop=True)


def _longer(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(x=data["x"] * 2)


def _stretched(data: xr.Dataset) -> xr.Dataset:
    x = data["x"].values.copy()
    x[5] += 0.25
    return data.assign_coords(x=x)


def _uneven(data: xr.Dataset) -> xr.Dataset:
    times = data["time"].values.copy()
    times[5:] += 3
    return data.assign_coords(time=times)


def _dates(data: xr.Dataset) -> xr.Dataset:
    days = np.arange(12) * np.timedelta64(1, "D")
    return data.assign_coords(time=np.datetime64("2000-01-01", "ns") + days)


def _slow(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(time=np.arange(12) * 0.35)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_renamed, "the data have no variable 'vorticity': did you mean 'vortcity'"),
        (_units, "'vorticity' is in '1/h' in the data, the model was trained in '1/s'"),
        (_level, "has the dims level, which the model does not know"),
        (_steady, "no time axis"),
        (_longer, "axis 'x' has a spacing of 0.785398, the model was trained with 0.392699"),
        (_stretched, "axis 'x' has its point 5 at 2.2135, the model was trained with it at 1.9635"),
        (_uneven, "not evenly spaced in time: the step is 0.5 at index 0 and 3.5 at index 4"),
        (_dates, r"'time' holds datetime64\[ns\]: give numbers in 's'"),
        (_slow, "a time step of 0.35, the model one of 0.5"),
    ],
)
def test_data_that_do_not_fit_are_refused(flow, describe, change, message):
    with pytest.raises(ValueError, match=message):
        Trajectories.of(change(flow()), describe(flow()))


def test_models_that_do_not_predict_their_inputs_are_refused(flow, describe):
    data = flow()
    data["forcing"] = data["vorticity"] * 2
    with pytest.raises(ValueError, match="inputs must begin with its targets"):
        Trajectories.of(data, describe(data, inputs=("forcing",)))
    with pytest.raises(ValueError, match="needs 'forcing' at every time"):
        Trajectories.of(data, describe(data, inputs=("vorticity", "forcing")))


def test_a_start_with_nan_is_refused_by_place(flow, describe):
    data = flow()
    data["vorticity"][1, 1, 3, 4] = np.nan
    course = Trajectories.of(data, describe(data))
    with pytest.raises(ValueError, match="'vorticity' is nan in sample 1, frame 1"):
        course.inputs(slice(0, 3))
