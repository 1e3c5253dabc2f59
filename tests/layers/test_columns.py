"""The feed-forward block on columns: against plain operations, with dropout, to second order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from surform.layers.columns import feed_forward


def parameters(c: int = 3, hidden: int = 5, dtype=torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((hidden, c), (hidden,), (c, hidden), (c,))
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def plain(x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Tensor:
    rows = F.linear(F.gelu(F.linear(x.t(), w, b)), v, c)
    return x + rows.t()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("columns", [1, 7, 5000])
def test_it_equals_plain_operations(dtype, columns):
    given = parameters(4, 64, dtype)
    x = torch.randn(4, columns, dtype=dtype, requires_grad=True)
    w, b, v, c = given
    found, expected = feed_forward(x, (w, b), (v, c)), plain(x, *given)
    tolerance = {"rtol": 1e-4, "atol": 1e-3} if dtype == torch.float32 else {}
    torch.testing.assert_close(found, expected, **tolerance)
    weights = torch.randn_like(found)
    for a, e in zip(
        torch.autograd.grad((found * weights).sum(), [x, *given]),
        torch.autograd.grad((expected * weights).sum(), [x, *given]),
        strict=True,
    ):
        scale = e.abs().max().item()
        assert (a - e).abs().max() <= (1e-10 if dtype == torch.float64 else 1e-4) * scale


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_first_and_second_derivatives_are_right(p):
    def call(x, w, b, v, c):
        torch.manual_seed(5)
        return feed_forward(x, (w, b), (v, c), p)

    inputs = (torch.randn(3, 6, dtype=torch.float64, requires_grad=True), *parameters())
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_dropout_keeps_the_mean_and_drops_the_wanted_share():
    w, b, v, c = (t.detach() for t in parameters(1, 16, torch.float32))
    x = torch.full((1, 60_000), 0.4)
    torch.manual_seed(0)
    noisy = feed_forward(x, (w, b), (v, c), 0.2)
    quiet = feed_forward(x, (w, b), (v, c))
    hidden = F.gelu(0.4 * w[:, 0] + b)
    variance = ((v[0] * hidden) ** 2).sum() * 0.2 / 0.8
    assert noisy.mean().item() == pytest.approx(quiet.mean().item(), abs=0.03)
    assert noisy.var().item() == pytest.approx(variance.item(), rel=0.05)


def test_precisions_without_blocks_work_too():
    w, b, v, c = (t.detach().bfloat16() for t in parameters(4, 8))
    x = torch.randn(4, 9).bfloat16()
    found = feed_forward(x, (w, b), (v, c), 0.1)
    assert found.shape == x.shape
    assert found.dtype == torch.bfloat16
    assert feed_forward(x[:, :0], (w, b), (v, c)).shape == (4, 0)
