"""ReLU attention: kernels against the reference, causality, earlier tokens kept, 16 bits."""

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

KERNELS = [kernel.name for kernel in attention.kernels("relu")]


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.booleans(), st.sampled_from([1.0, 0.3]))
def test_kernels_agree(dtype, sizes, layout, seed, causal, scale):
    b, h, n, m, d, e = sizes
    m = max(n, m) if causal else m
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    assert_kernels_agree("relu", make, q, k, v, causal=causal, scale=scale)


def test_the_definition():
    q, k = torch.tensor([1.0, -1.0]).reshape(1, 1, 2, 1), torch.tensor([2.0, -4.0])
    v = torch.tensor([[10.0], [100.0]])[None, None]
    out = attention.relu(q, k.reshape(1, 1, 2, 1), v, causal=True)
    # the first sees one key, the second two, of which only the other sign counts
    assert out.flatten().tolist() == [20.0, 4 * 100 / 2]
    everything = attention.relu(q, k.reshape(1, 1, 2, 1), v)
    assert everything.flatten().tolist() == [10.0, 200.0]


@pytest.mark.parametrize("name", KERNELS)
def test_the_last_tokens_alone_give_the_same_rows(name):
    make = Maker(0, torch.float64)
    q, k, v = (make.tokens(2, 2, 9, 3) for _ in range(3))
    with attention.use(relu=name):
        whole = attention.relu(q, k, v, causal=True)
        for last in (1, 2, 9):
            rows = attention.relu(q[:, :, -last:], k, v, causal=True)
            torch.testing.assert_close(rows, whole[:, :, -last:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_many_keys_in_16_bits(dtype):
    k = torch.full((1, 1, 100_000, 4), 2.0, dtype=dtype)
    out = attention.relu(k[:, :, :3], k, k, scale=0.25)
    torch.testing.assert_close(out, torch.full_like(out, 8.0), rtol=1e-2, atol=0)


def test_compiles_in_one_graph_and_exports_to_plain_operations():
    torch.compiler.reset()
    q, k, v = (torch.randn(2, 2, 24, 4).requires_grad_() for _ in range(3))
    call = lambda q, k, v: attention.relu(q, k, v, causal=True)  # noqa: E731
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
            return attention.relu(q, k, v, causal=True)

    n = torch.export.Dim("n", min=2, max=4096)
    program = torch.export.export(Module(), (q, k, v), dynamic_shapes=({2: n},) * 3)
    longer = [torch.randn(2, 2, 31, 4) for _ in range(3)]
    torch.testing.assert_close(program.module()(*longer), call(*longer))


@pytest.mark.fault
def test_wrong_arguments_are_named():
    q = torch.randn(1, 2, 6, 4)
    with pytest.raises(ValueError, match="relu attention: q"):
        attention.relu(q, q[..., :3], q)
    with pytest.raises(ValueError, match="6 queries cannot be the last of 5 tokens"):
        attention.relu(q, q[:, :, :5], q[:, :, :5], causal=True)
    with pytest.raises(ValueError, match="scale is -1"):
        attention.relu(q, q, q, scale=-1)
