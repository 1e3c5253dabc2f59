"""Walls: the normal velocity is zero on the planes that bound the domain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate
from tests.operators.toy_fields import ONE, axes, describe, flow

WALLED = {"inputs": ("d", "u", "v"), "targets": ("d", "u", "v"), "parameters": ("nu",)}


class Drift(nn.Module):
    """Time-window toy network of three fields: frame n is the newest frame plus n; keeps inputs."""

    time_window = True
    max_steps = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.seen: list[torch.Tensor] = []

    def forward(self, u, coordinates, steps=None):
        self.seen.append(u.detach())
        ahead = range(1, 1 + (steps or self.max_steps))
        return torch.stack([u[:, -1, ..., :3] + n * self.weight for n in ahead], dim=1)


def walled(net=None, **changes):
    model = FieldSurrogate(net or Drift(), walls=("u", "v"))
    about = describe(
        **WALLED, **{"input_steps": 2, "target_steps": 2, "time_step": 0.5, "units": {}} | changes
    )
    mean = torch.tensor([1.0, 2.0, 3.0])
    std = torch.tensor([1.0, 2.0, 4.0])
    inputs = Normalizer(torch.cat([mean, ONE]), torch.cat([std, ONE]))
    model.fit_to(about, inputs, Normalizer(mean, std))
    return model


def no_flow_through(fields, closed=("x",)):
    """Whether u is zero on the first x plane, v on the first y plane; (B, T, x, y, C)."""
    u, v = fields[:, :, 0, :, 1], fields[:, :, :, 0, 2]
    return bool((u == 0).all()) and bool((v == 0).all() if "y" in closed else (v != 0).all())


@pytest.mark.parametrize(("periodic", "closed"), [(False, ("x", "y")), (True, ("x",))])
def test_walls_stop_the_normal_velocity_on_the_first_planes(periodic, closed):
    model = walled(periodic={"x": False, "y": periodic})
    inputs = torch.randn(3, 2, 4, 5, 4) + 5
    given = inputs.clone()
    output = model(inputs, (torch.arange(4.0), torch.arange(5.0)), 2)
    assert no_flow_through(output, closed)
    assert torch.equal(inputs, given)
    assert (output[..., 0] != 0).all()
    assert (output[:, :, 1:, :, 1] != 0).all()
    seen = model.input_normalizer.denormalize(model.net.seen[0])
    torch.testing.assert_close(seen[:, :, 0, :, 1], torch.zeros(3, 2, 5))
    torch.testing.assert_close(seen[:, :, 1:], given[:, :, 1:] * (seen[:, :, 1:] != 0))


def test_walls_hold_in_rollouts_and_labelled_predictions():
    from surform.rollout.stepping import rollout

    model = walled(periodic={"x": False, "y": False})
    coordinates = (torch.arange(4.0), torch.arange(5.0))
    frames = torch.stack(list(rollout(model, torch.randn(2, 2, 4, 5, 4), coordinates, 5)), dim=1)
    assert no_flow_through(frames, ("x", "y"))
    for seen in map(model.input_normalizer.denormalize, model.net.seen[1:]):
        torch.testing.assert_close(seen[:, -1, 0, :, 1], torch.zeros(2, 5))
    data = xr.Dataset({n: flow()["u"].drop_attrs() for n in "duv"}, coords=axes()).assign(nu=1.0)
    data = data.assign_coords(time=0.5 * np.arange(6))
    for axis in "xy":
        data[axis].attrs = {}
    predicted = model.predict(data, steps=5)
    assert (predicted["u"].isel(x=0) == 0).all()
    assert (predicted["v"].isel(y=0) == 0).all()
    assert (predicted["u"].isel(x=1) != 0).all()


def test_gradients_pass_beside_the_walls():
    model = walled(periodic={"x": False, "y": False}).double()
    inputs = torch.randn(1, 2, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    model(inputs, (torch.arange(4.0), torch.arange(5.0)), 1).sum().backward()
    assert inputs.grad is not None
    expected = torch.ones(4, 5, 3, dtype=torch.float64)
    expected[0, :, 1] = expected[:, 0, 2] = 0
    torch.testing.assert_close(inputs.grad[0, -1, ..., :3], expected)


def test_walls_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="walls must be a list of variables"):
        FieldSurrogate(Drift(), walls="uv")
    other = FieldSurrogate(Drift(), walls=("u", "w"))
    about = describe(**WALLED, input_steps=2, target_steps=2, time_step=0.5)
    with pytest.raises(ValueError, match="velocity along each of x, y, not u, w; targets: d, u, v"):
        other.fit_to(about, Normalizer(), Normalizer())
    with pytest.raises(ValueError, match="walls need an axis that is not periodic"):
        walled(periodic={"x": True, "y": True})
    with pytest.raises(ValueError, match="need the description of the data"):
        FieldSurrogate(Drift(), walls=("u",)).apply_boundary(torch.ones(1, 1, 3, 1))
