"""Blocks of scores with dropout: the same weights, some of them dropped, and their gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from surform import attention
from surform.attention import softmax_blocks
from tests.attention.test_kernels import LAYOUTS, SIZES, Maker, common, dtypes


def blocks(q: Tensor, k: Tensor, v: Tensor, p: float, seed: int = 7, **options) -> Tensor:
    """Reproducible: the same scores are dropped at every call."""
    torch.manual_seed(seed)
    with attention.use(softmax="blocks"):
        return attention.softmax(q, k, v, dropout_p=p, **options)


def dropped_weights(q: Tensor, k: Tensor, p: float) -> Tensor:
    units = torch.eye(k.shape[2], dtype=k.dtype).expand(*k.shape[:2], -1, -1)
    return blocks(q, k, units, p)


@pytest.fixture(params=[2**18, 40, 1], ids=["large blocks", "small blocks", "one query a block"])
def block(request, monkeypatch):
    monkeypatch.setattr(softmax_blocks, "_BLOCK", request.param)


@dtypes
@pytest.mark.usefixtures("block")
@common
@given(
    SIZES, LAYOUTS, st.integers(0, 99), st.sampled_from([0.0, 0.4]), st.sampled_from([None, 0.7])
)
def test_weights_are_dropped_or_scaled_and_gradients_follow(dtype, sizes, layout, seed, p, scale):
    b, h, n, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    kept = dropped_weights(q, k, p) != 0 if p else torch.ones(b, h, n, m, dtype=torch.bool)
    share = 1 - round(p * 2**16) / 2**16
    weights = torch.softmax(q @ k.transpose(-2, -1) * (d**-0.5 if scale is None else scale), -1)
    found = []
    for out in (blocks(q, k, v, p, scale=scale), (weights * kept / share) @ v):
        found.append([out, *torch.autograd.grad(out.sin().sum(), make.leaves)])
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4}[dtype]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("block")
def test_derivatives_of_both_orders_are_right():
    make = Maker(3, torch.float64, "heads inside")
    inputs = make.tokens(2, 2, 3, 2), make.tokens(2, 2, 4, 2), make.tokens(2, 2, 4, 3)
    call = lambda q, k, v: blocks(q, k, v, 0.3)  # noqa: E731
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_share_and_mean_are_kept_and_neighbours_are_independent():
    q, k = torch.zeros(4, 2, 150, 8), torch.zeros(4, 2, 131, 8)  # equal weights
    weights = dropped_weights(q, k, 0.1) * 131
    values = weights.unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.9]), rtol=1e-4, atol=0)
    dropped = (weights == 0).double() - 0.1
    deviation = (0.09 / dropped.numel()) ** 0.5
    assert abs(dropped.mean()) < 5 * deviation
    for axis in range(4):
        neighbours = dropped.narrow(axis, 1, dropped.shape[axis] - 1)
        others = dropped.narrow(axis, 0, dropped.shape[axis] - 1)
        assert abs((neighbours * others).mean()) < 5 * 0.09 / neighbours.numel() ** 0.5


def test_the_seed_decides_and_calls_differ():
    q = torch.randn(1, 2, 40, 8)
    assert torch.equal(blocks(q, q, q, 0.2), blocks(q, q, q, 0.2))
    assert not torch.equal(blocks(q, q, q, 0.2), blocks(q, q, q, 0.2, seed=8))
    with attention.use(softmax="blocks"):
        first = attention.softmax(q, q, q, dropout_p=0.2)
        assert not torch.equal(first, attention.softmax(q, q, q, dropout_p=0.2))


def test_it_is_taken_for_many_scores_with_dropout():
    q = torch.randn(2, 8, 100, 16)
    assert attention.explain("softmax", q, q, q, dropout_p=0.1).chosen == "blocks"
    assert attention.explain("softmax", q, q, q).chosen != "blocks"
    few = q[:, :, :20]
    assert attention.explain("softmax", few, few, few, dropout_p=0.1).chosen != "blocks"
    mask = torch.ones(2, 100, dtype=torch.bool)
    assert attention.explain("softmax", q, q, q, dropout_p=0.1, mask=mask).chosen != "blocks"
    half = q.bfloat16()
    assert attention.explain("softmax", half, half, half, dropout_p=0.1).chosen != "blocks"


def test_compiled_programs_take_plain_operations():
    torch.compiler.reset()
    q = torch.randn(1, 8, 100, 16, requires_grad=True)
    call = lambda q: attention.softmax(q, q, q, dropout_p=0.1)  # noqa: E731
    out = torch.compile(call, fullgraph=True, backend="aot_eager")(q)
    assert out.isfinite().all()
    out.sum().backward()
