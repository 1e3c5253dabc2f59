"""Flow attention: kernels against the reference, what it conserves, masks, 16 bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surform import attention
from tests.attention.test_kernels import (
    LAYOUTS,
    SIZES,
    Maker,
    assert_kernels_agree,
    common,
    dtypes,
)

KERNELS = [kernel.name for kernel in attention.kernels("flow")]


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.booleans())
def test_kernels_agree(dtype, sizes, layout, seed, masked):
    b, h, n, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    assert_kernels_agree("flow", make, q, k, v, mask=make.mask(b, m) if masked else None)


def test_long_sequences_take_the_kernel_without_copies():
    make = Maker(1, torch.float64, "heads inside")
    q, k, v = make.tokens(2, 8, 1500, 32), make.tokens(2, 8, 1300, 32), make.tokens(2, 8, 1300, 24)
    assert attention.explain("flow", q, k, v).chosen == "tokens"
    assert_kernels_agree("flow", make, q, k, v, mask=make.mask(2, 1300))


@pytest.mark.parametrize(("tokens", "chosen"), [(11, "scores"), (325, "factored")])
def test_the_cheaper_order_is_taken(tokens, chosen):
    q = torch.randn(2, 8, tokens, 64)
    assert attention.explain("flow", q, q, q).chosen == chosen


@pytest.mark.parametrize("name", KERNELS)
def test_a_mask_is_as_good_as_shorter_keys(name):
    make = Maker(2, torch.float64)
    q, k, v = (make.tokens(1, 2, 6, 4) for _ in range(3))
    mask = torch.tensor([[True, False, True, True, False, True]])
    with attention.use(flow=name):
        masked = attention.flow(q, k, v, mask=mask)
        short = attention.flow(q, k[:, :, mask[0]], v[:, :, mask[0]])
        nothing = attention.flow(q, k, v, mask=torch.zeros_like(mask))
    torch.testing.assert_close(masked, short)
    assert not nothing.any()


def test_what_leaves_the_keys_and_reaches_the_queries_is_conserved():
    """Equal keys compete for nothing: what arrives is the mean value times the allocation."""
    v = torch.randn(1, 1, 5, 3, dtype=torch.float64)
    same = torch.full((1, 1, 5, 4), 0.3, dtype=torch.float64)
    out = attention.flow(same[:, :, :2], same, v)
    # R = m / n for equal tokens, so that the allocation is sigmoid(1), whatever n and m
    expected = torch.sigmoid(torch.tensor(1.0).double()) * v.mean(2, keepdim=True)
    torch.testing.assert_close(out, expected.expand_as(out), rtol=1e-5, atol=1e-6)


def test_order_of_keys_does_not_matter_and_order_of_queries_carries_over():
    make = Maker(4, torch.float64)
    q, k, v = (make.tokens(2, 2, 7, 4) for _ in range(3))
    order = torch.randperm(7)
    out = attention.flow(q, k, v)
    torch.testing.assert_close(attention.flow(q, k[:, :, order], v[:, :, order]), out)
    torch.testing.assert_close(attention.flow(q[:, :, order], k, v), out[:, :, order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_many_keys_in_16_bits(dtype, masked):
    k = torch.ones(2, 2, 100_000, 4, dtype=dtype)
    mask = torch.ones(2, 100_000, dtype=torch.bool) if masked else None
    for name in set(KERNELS) - {"scores"}:
        with attention.use(flow=name):
            out = attention.flow(k[:, :, :3], k, k, mask=mask)
        assert out.dtype == dtype
        torch.testing.assert_close(out, torch.full_like(out, 0.7311), rtol=1e-2, atol=0)


def test_autocast_stays_close():
    q, k, v = (torch.randn(2, 4, 40, 16) for _ in range(3))
    exact = attention.flow(q, k, v)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention.flow(q.bfloat16(), k, v)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact, rtol=0, atol=0.02)


def test_compiles_in_one_graph_and_exports_to_plain_operations():
    torch.compiler.reset()
    q, k, v = (torch.randn(2, 24, 2, 4).transpose(1, 2).requires_grad_() for _ in range(3))
    mask = torch.arange(24).expand(2, -1) != 1
    call = lambda q, k, v: attention.flow(q, k, v, mask=mask)  # noqa: E731
    expected = call(q, k, v)
    out = torch.compile(call, fullgraph=True, backend="aot_eager")(q, k, v)
    torch.testing.assert_close(out, expected)
    for mine, theirs in zip(
        torch.autograd.grad(out.sin().sum(), (q, k, v)),
        torch.autograd.grad(expected.sin().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)

    class Module(torch.nn.Module):
        def forward(self, q, k, v):
            return attention.flow(q, k, v)

    n = torch.export.Dim("n", min=2, max=4096)
    shapes = ({2: n},) * 3
    program = torch.export.export(Module(), (q, k, v), dynamic_shapes=shapes)
    torch.testing.assert_close(program.module()(q, k, v), attention.flow(q, k, v))
    assert not [node for node in program.graph.nodes if "surform" in str(node.target)]


def test_wrong_shapes_are_named():
    q = torch.randn(1, 2, 6, 4)
    with pytest.raises(ValueError, match="flow attention: q"):
        attention.flow(q, q[..., :3], q)
    with pytest.raises(ValueError, match="flow attention: mask has shape"):
        attention.flow(q, q, q, mask=torch.ones(1, 5, dtype=torch.bool))
