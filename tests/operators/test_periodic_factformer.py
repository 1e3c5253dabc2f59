"""FactFormer on axes that close on themselves."""

from __future__ import annotations

import math

import pytest
import torch

from surform.operators.factformer import FactFormer2d, FactFormer3d, FactFormerSteady2d

SMALL = {"dim": 16, "depth": 2, "heads": 2, "head_dim": 8, "periodic": True}


def circle(points: int, start: float = 0.0, length: float = 2 * math.pi) -> torch.Tensor:
    return start + length * torch.arange(points, dtype=torch.float64) / points


def window_model(**options: bool) -> FactFormer2d:
    torch.manual_seed(0)
    net = FactFormer2d(input_steps=2, max_steps=2, encoding_scale=1.0, **(SMALL | options)).double()
    for layer in net.layers:  # larger kernels than at the start of training
        for axis in layer.block.axes:
            axis.to_query.weight.data.mul_(50)
    return net


@pytest.mark.parametrize("periodic", [True, False])
def test_without_positions_a_shift_of_the_field_shifts_the_prediction(periodic):
    net = window_model(periodic=periodic)
    for layer in net.layers:
        layer.encoding.project.weight.data.zero_()
    u, x = torch.randn(2, 2, 12, 10, 1).double(), (circle(12), circle(10))
    moved, still = net(u.roll((5, 3), (2, 3)), x), net(u, x).roll((5, 3), (2, 3))
    error = ((moved - still).abs().max() / still.abs().max()).item()
    assert error < 1e-10 if periodic else error > 1e-4


def test_positions_close_on_themselves():
    """Points of the next period have the positions of this one."""
    net = window_model()
    encoding = net.layers[0].encoding
    first = encoding.features((circle(12), circle(10)))
    again = encoding.features((circle(12) + 2 * math.pi, circle(10) - 4 * math.pi))
    torch.testing.assert_close(again, first, rtol=0, atol=1e-10)


def test_a_finer_grid_has_the_same_positions():
    encoding = window_model().layers[0].encoding
    coarse = encoding.features((circle(12), circle(10)))
    fine = encoding.features((circle(24), circle(20)))
    torch.testing.assert_close(fine[::2, ::2], coarse, rtol=0, atol=1e-10)


@pytest.mark.fault
def test_what_cannot_be_periodic_is_said():
    with pytest.raises(ValueError, match="padding = 2 would tear periodic axes apart"):
        FactFormer3d(**(SMALL | {"dim": 32}))
    net = FactFormerSteady2d(**SMALL)
    with pytest.raises(ValueError, match="axis 1 has 1 point, a periodic axis needs at least 2"):
        net(torch.randn(1, 4, 1, 1), (torch.linspace(0, 1, 4), torch.zeros(1)))
