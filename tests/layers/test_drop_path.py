"""Stochastic depth: whole samples, the mean kept, nothing in evaluation, no needless work."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surform.layers.drop_path import DropPath, drop_rates


def test_whole_samples_are_dropped_and_the_mean_is_kept():
    torch.manual_seed(0)
    x = torch.rand(4000, 2, 3) + 1
    y = DropPath(0.25)(x)
    dropped = (y == 0).flatten(1).all(1)
    assert dropped.float().mean() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)
    assert y.mean().item() == pytest.approx(x.mean().item(), rel=0.05)


def test_nothing_happens_in_evaluation_or_at_rate_zero():
    x, branch = torch.rand(8, 3), nn.Linear(3, 3)
    for layer in (DropPath(0.9).eval(), DropPath(0.0)):
        assert layer(x) is x
        assert torch.equal(layer.add(x, branch), x + branch(x))


def test_the_branch_sees_only_samples_that_keep_it():
    torch.manual_seed(0)
    branch, x, seen = nn.Linear(3, 3).double(), torch.randn(400, 2, 3).double(), []

    def watched(part, numbers):
        assert torch.equal(part, x[numbers])
        seen.append(len(part))
        return branch(part)

    out = DropPath(0.3).add(x, watched, torch.arange(400))
    kept = (out != x).flatten(1).any(1)
    torch.testing.assert_close(out[kept], (x + branch(x) / 0.7)[kept])
    assert torch.equal(out[~kept], x[~kept])
    assert seen == [int(kept.sum())]
    assert 0.6 < kept.double().mean() < 0.8


def test_gradients_are_those_of_multiplying_by_zero():
    torch.manual_seed(0)
    branch, x = nn.Linear(3, 3).double(), torch.randn(8, 3).double().requires_grad_()
    out = DropPath(0.5).add(x, branch)
    factor = (out != x).any(1, keepdim=True).double() * 2
    assert 0 < factor.mean() < 2
    cotangent = torch.randn_like(out)
    inputs = (x, *branch.parameters())
    found = torch.autograd.grad((out * cotangent).sum(), inputs)
    expected = torch.autograd.grad(((x + branch(x) * factor) * cotangent).sum(), inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_that_skips_the_branch_still_differentiates_it():
    torch.manual_seed(1)
    branch, x = nn.Linear(3, 3), torch.randn(1, 3)
    out = DropPath(0.999).add(x, branch)
    out.sum().backward()
    assert torch.equal(out, x)
    assert branch.weight.grad is not None
    assert not branch.weight.grad.any()


def test_compiled_it_keeps_the_mean():
    layer, x = DropPath(0.25), torch.ones(4000, 1)

    def double(x):
        return layer.add(x, torch.ones_like)

    torch.compiler.reset()
    out = torch.compile(double, fullgraph=True, backend="aot_eager")(x)
    found = sorted(set(out.flatten().tolist()))
    assert found == pytest.approx([1.0, 1 + 1 / 0.75])
    assert out.mean().item() == pytest.approx(2.0, abs=0.05)


def test_rates_grow_linearly():
    assert drop_rates(0.2, 3) == [0.0, 0.1, 0.2]
    assert drop_rates(0.2, 1) == [0.0]


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates_are_named(rate):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        DropPath(rate)
    with pytest.raises(ValueError, match=r"drop_path is .* must lie in \[0, 1\)"):
        drop_rates(rate, 3)


def test_what_stands_beside_is_taken_from_the_same_samples():
    torch.manual_seed(0)
    x, numbers = torch.randn(200, 3), torch.arange(200)[:, None]
    out = DropPath(0.5).add(x, lambda part, own, none: own * torch.ones(3), numbers, None)
    kept = (out != x).any(1)
    assert 60 < int(kept.sum()) < 140
    expected = 2.0 * numbers[kept] * torch.ones(3)
    torch.testing.assert_close((out - x)[kept], expected, rtol=1e-3, atol=1e-3)
