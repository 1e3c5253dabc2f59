from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate
from surform.registry import create_model
from tests.operators.toy_fields import ONE, March, Scale, axes, describe, flow


def steady(parameters=(), **options):
    model = FieldSurrogate(Scale(), **options)
    count = 1 + len(parameters)
    zero = torch.zeros(count)
    model.fit_to(
        describe(parameters=parameters),
        Normalizer(zero, torch.ones(count)),
        Normalizer(0 * ONE, ONE),
    )
    return model


def window(most=3, input_steps=2):
    model = FieldSurrogate(March(most))
    about = describe(
        inputs=("u",),
        input_steps=input_steps,
        target_steps=most,
        time_step=0.5,
        units={"u": "m s-1", "x": "m", "y": "m", "time": "s"},
    )
    model.fit_to(about, Normalizer(0 * ONE, ONE), Normalizer(0 * ONE, ONE))
    return model


@pytest.fixture
def still():
    values = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    return xr.Dataset(
        {"a": (("sample", "x", "y"), values, {"units": "m"})},
        coords={**axes(), "sample": [10, 11, 12], "place": ("sample", ["p", "q", "r"])},
        attrs={"title": "three wells"},
    )


@pytest.fixture
def moving():
    return flow()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_maps_physical_units(dtype):
    model = FieldSurrogate(Scale())
    model.fit_to(describe(), Normalizer(3 * ONE, 2 * ONE), Normalizer(-ONE, 5 * ONE))
    model.to(dtype)
    u = torch.randn(2, 4, 5, 1, dtype=dtype)
    torch.testing.assert_close(model(u, (u[0, :, 0, 0], u[0, 0, :, 0])), (u - 3) * 5 - 1)


def test_normalized_is_the_networks_own_output():
    model = FieldSurrogate(Scale())
    model.fit_to(describe(), Normalizer(3 * ONE, 2 * ONE), Normalizer(-ONE, 5 * ONE))
    u = torch.randn(2, 4, 5, 1)
    torch.testing.assert_close(model.normalized(u, (u[0, :, 0, 0], u[0, 0, :, 0])), u - 3)


def test_zero_boundary_holds_on_axes_that_are_not_periodic(still):
    output = steady(boundary="zero").predict(still)["u"]
    assert (output.isel(x=[0, -1]) == 0).all()
    assert (output.isel(x=slice(1, -1)) != 0).all()


def test_unfitted_models_refuse_to_predict():
    model = FieldSurrogate(Scale())
    with pytest.raises(ValueError, match="no statistics"):
        model(torch.randn(1, 4, 5, 1), (torch.arange(4.0), torch.arange(5.0)))


def test_predict_keeps_coordinates_units_and_attributes(still):
    output = steady().predict(still, batch_size=2)
    np.testing.assert_allclose(output["u"], 2 * still["a"])
    assert output["u"].dims == ("sample", "x", "y")
    assert output["u"].attrs["units"] == "m s-1"
    assert output.attrs == {"title": "three wells"}
    for name in ("x", "y", "sample", "place"):
        assert output[name].identical(still[name])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batches_do_not_change_the_prediction(still, batch_size):
    expected = steady().predict(still, batch_size=3)
    assert steady().predict(still, batch_size=batch_size).identical(expected)


def test_one_sample_without_its_dim(still):
    output = steady().predict(still.isel(sample=1))
    assert output["u"].dims == ("x", "y")
    assert output["sample"] == 11
    np.testing.assert_allclose(output["u"], 2 * still["a"][1])


def test_dims_in_another_order(still):
    output = steady().predict(still.transpose("y", "sample", "x"))
    assert output["u"].dims == ("sample", "x", "y")
    np.testing.assert_allclose(output["u"], 2 * still["a"])


def test_parameters_are_spread_over_the_grid(still):
    still["nu"] = ("sample", [1.0, 2.0, 3.0], {"units": "m2 s-1"})
    output = steady(parameters=("nu",)).predict(still)
    np.testing.assert_allclose(output["u"], 2 * still["a"] + still["nu"])
    one = steady(parameters=("nu",)).predict(still.isel(sample=2))
    np.testing.assert_allclose(one["u"], 2 * still["a"][2] + 3)


def test_a_steady_model_maps_every_frame(still):
    frames = xr.concat([still, still + 1], dim=xr.DataArray([0.0, 1.0], dims="time", name="time"))
    output = steady().predict(frames)
    assert output["u"].dims == ("sample", "time", "x", "y")
    np.testing.assert_allclose(output["u"].isel(time=1), 2 * (still["a"] + 1), rtol=1e-6)
    np.testing.assert_allclose(output["time"], [0, 1])


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_more_target_frames_than_one_call_gives_are_rolled_out(moving, steps):
    net = create_model(
        "factformer2d", input_steps=2, max_steps=1, dim=8, depth=1, heads=1, head_dim=8
    )
    model = FieldSurrogate(net)
    about = describe(
        inputs=("u",), input_steps=2, target_steps=4, time_step=0.5, units={"u": "m s-1"}
    )
    model.fit_to(about, Normalizer(0 * ONE, ONE), Normalizer(0 * ONE, ONE))
    moving = moving.assign_coords(time=0.5 * np.arange(6))
    for axis in "xy":
        moving[axis].attrs = {}
    assert model.predict(moving, steps=steps).sizes["time"] == steps


@pytest.mark.parametrize(("steps", "count"), [(None, 3), (1, 1), (3, 3), (7, 7)])
def test_windows_continue_after_the_last_frame(moving, steps, count):
    output = window().predict(moving, steps=steps)
    assert output["u"].dims == ("sample", "time", "x", "y")
    np.testing.assert_allclose(output["time"], 2.5 + 0.5 * np.arange(1, count + 1))
    assert output["time"].attrs == moving["time"].attrs
    assert output["u"].attrs == moving["u"].attrs
    last = moving["u"].isel(time=-1)
    for step in range(count):
        np.testing.assert_allclose(output["u"].isel(time=step), last + step + 1, rtol=1e-5)


def test_a_window_without_time_dim_when_one_frame_is_enough(moving):
    output = window(input_steps=1).predict(moving.isel(time=4), steps=2)
    np.testing.assert_allclose(output["time"], [2.5, 3.0])


def test_lazy_zarr_in_and_the_same_out(moving, tmp_path):
    moving.to_zarr(tmp_path / "flow.zarr", consolidated=False)
    lazy = xr.open_zarr(tmp_path / "flow.zarr", chunks=None, consolidated=False)
    expected = window().predict(moving)
    assert window().predict(lazy, batch_size=1).identical(expected)


def test_predicting_leaves_the_mode_as_it_was(still):
    model = steady().train()
    model.predict(still)
    assert model.training


FAULTS = [
    (lambda d: d.rename(a="b"), r"no variable 'a': it holds b"),
    (lambda d: d.rename(x="z"), r"dims z, which the model does not know"),
    (lambda d: d.isel(x=0, drop=True), r"no axis 'x'"),
    (lambda d: d.expand_dims(member=2), "dims member"),
    (lambda d: d.assign(a=d.a.assign_attrs(units="km")), "'a' is in 'km'.*multiply it by 1000"),
    (lambda d: d.assign(a=d.a.assign_attrs(units="K")), "'a' is in 'K'.*trained in 'm'"),
    (lambda d: d.assign_coords(x=2 * d.x), "axis 'x' has a spacing of 2"),
    (lambda d: d.assign_coords(x=10 + d.x), "'x' has 4 points from 10 to 13"),
    (lambda d: d.isel(x=[3, 2, 1, 0]), "axis 'x' has a spacing of -1"),
    (lambda d: d.isel(y=slice(0, 3)), "'y' has 3 points"),
    (lambda d: d.drop_vars("x").isel(x=[0, 1]), "give no coordinate 'x'"),
    (lambda d: d.where(d.sample != 11), r"'a' holds nan in sample 1, at index \(0, 0\)"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_data_that_do_not_fit_are_refused(still, change, message):
    with xr.set_options(keep_attrs=True), pytest.raises(ValueError, match=message):
        steady().predict(change(still))


def test_a_finer_grid_is_refused_with_the_stride_that_helps(still):
    fine = still.interp(x=np.arange(0, 3.5, 0.5))
    fine["x"].attrs["units"] = "m"
    with pytest.raises(ValueError, match=r"isel\(x=slice\(None, None, 2\)\)"):
        steady().predict(fine)
    assert steady().predict(fine, any_grid=True)["u"].sizes["x"] == 7
    assert steady().predict(fine.isel(x=slice(None, None, 2)))["u"].sizes["x"] == 4


def test_another_grid_for_statistics_of_every_point(still):
    model = steady()
    assert model.description is not None
    model.fit_to(
        model.description,
        Normalizer(torch.zeros(4, 5, 1), torch.ones(4, 5, 1)),
        Normalizer(0 * ONE, ONE),
    )
    fine = still.interp(x=np.arange(0, 3.5, 0.5))
    fine["x"].attrs["units"] = "m"
    with pytest.raises(ValueError, match=r"None, 2\)\)$"):
        model.predict(fine)
    with pytest.raises(ValueError, match=r"point by point.* only on a grid of 4 x 5 points"):
        model.predict(fine, any_grid=True)
    shifted = still.assign_coords(x=("x", still.x.values + 10, {"units": "m"}))
    with pytest.raises(ValueError, match="predicts all the same"):
        model.predict(shifted)
    assert model.predict(shifted, any_grid=True)["u"].shape == (3, 4, 5)


def test_nothing_to_predict_from(still, moving):
    with pytest.raises(ValueError, match="empty along sample"):
        steady().predict(still.isel(sample=slice(0)))
    with pytest.raises(ValueError, match="empty along time"):
        window().predict(moving.isel(time=slice(0)))
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        steady().predict(still, batch_size=0)


def test_other_spellings_of_a_unit_are_the_same(moving):
    moving["u"].attrs["units"] = "m/s"
    assert window().predict(moving)["u"].attrs["units"] == "m/s"


def test_another_time_step_is_refused_with_the_stride_that_helps(moving):
    fine = moving.assign_coords(time=0.25 * np.arange(6))
    with pytest.raises(
        ValueError, match=r"time step of 0\.25.*isel\(time=slice\(None, None, 2\)\)"
    ):
        window().predict(fine)


def test_too_few_frames(moving):
    with pytest.raises(ValueError, match="needs 2 frames, the data have 1"):
        window().predict(moving.isel(time=[0]))


@pytest.mark.parametrize("steps", [0, -1])
def test_bad_step_counts(moving, steps):
    with pytest.raises(ValueError, match="fewer than one step"):
        window().predict(moving, steps=steps)


def test_steps_of_a_steady_model(still):
    with pytest.raises(ValueError, match="the model is steady"):
        steady().predict(still, steps=2)
    with pytest.raises(ValueError, match="takes no `steps`"):
        steady()(torch.ones(1, 4, 5, 1), (torch.arange(4.0), torch.arange(5.0)), 2)


def test_fit_to_refuses_what_does_not_fit():
    normalizer = Normalizer(0 * ONE, ONE)
    with pytest.raises(ValueError, match="March needs time windows, the data are steady fields"):
        FieldSurrogate(March()).fit_to(describe(), normalizer, normalizer)
    with pytest.raises(ValueError, match="Scale needs steady fields, the data are time windows"):
        FieldSurrogate(Scale()).fit_to(describe(input_steps=1), normalizer, normalizer)
    with pytest.raises(ValueError, match="an axis that is not periodic"):
        FieldSurrogate(Scale(), boundary="zero").fit_to(
            describe(periodic={"x": True, "y": True}), normalizer, normalizer
        )
    with pytest.raises(ValueError, match=r"target_normalizer have no statistics"):
        FieldSurrogate(Scale()).fit_to(describe(), normalizer, Normalizer())
    with pytest.raises(ValueError, match="boundary must be 'free' or 'zero'"):
        FieldSurrogate(Scale(), boundary="open")  # type: ignore[arg-type]


def test_change_is_added_to_the_newest_frame_in_normalized_units():
    net = March(most=2)
    model = FieldSurrogate(net, predicts="change")
    mean, std = 3.0 * ONE, 2.0 * ONE
    names = {"inputs": ("u",), "targets": ("u",), "input_steps": 2, "target_steps": 2}
    description = describe(**names, time_step=0.5)
    model.fit_to(description, Normalizer().fit(mean, std), Normalizer().fit(mean, std))
    u = torch.randn(3, 2, 4, 5, 1)
    coordinates = (torch.arange(4.0), torch.arange(5.0))
    newest = (u[:, -1:] - 3) / 2
    expected = 2 * (net((u - 3) / 2, coordinates, 2) + newest) + 3
    torch.testing.assert_close(model(u, coordinates, 2), expected)


def test_change_needs_a_window_that_holds_the_targets():
    with pytest.raises(ValueError, match="needs a model of time windows, not Scale"):
        FieldSurrogate(Scale(), predicts="change")
    with pytest.raises(ValueError, match="predicts must be 'state' or 'change'"):
        FieldSurrogate(March(), predicts="changes")
    model = FieldSurrogate(March(), predicts="change")
    other = describe(input_steps=2, target_steps=2, time_step=0.5)
    with pytest.raises(ValueError, match="needs the targets u as the first inputs, not a"):
        model.fit_to(other, Normalizer(), Normalizer())
