"""Keysum attention in two steps: against the definition, and what may be done in between."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surform import attention
from tests.attention.test_kernels import LAYOUTS, SIZES, Maker, assert_kernels_agree, common, dtypes


def positive(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(-1)


def sets(make: Maker, b: int, h: int, counts: tuple[int, ...], d: int, e: int):
    return [
        (positive(make.tokens(b, h, m, d)), make.tokens(b, h, m, e), make.mask(b, m))
        for m in counts
    ]


def literal(q, keys, weights=None):
    """sum over sets of q (k^T v) / (q . sum k), pair by pair of query and key."""
    out = q.new_zeros(*q.shape[:3], keys[0][1].shape[-1])
    for i, (k, v, mask) in enumerate(keys):
        scores = q @ k.transpose(-2, -1)  # (b, h, n, m)
        if mask is not None:
            scores = scores * mask[:, None, None, :]
        if weights is not None:
            scores = scores * weights[i][:, None, None, :]
        total = scores.sum(-1, keepdim=True)
        out = out + scores / total.masked_fill(total == 0, 1.0) @ v
    return out


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.booleans(), st.booleans())
def test_key_sums(dtype, sizes, layout, seed, masked, weighted):
    b, h, _, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    k, v = positive(make.tokens(b, h, m, d)), make.tokens(b, h, m, e)
    mask = make.mask(b, m) if masked else None
    weights = make.plain(b, m).exp() if weighted else None
    assert_kernels_agree("key_sums", make, k, v, mask=mask, weights=weights)


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.integers(1, 3), st.booleans(), st.booleans())
def test_keysum(dtype, sizes, layout, seed, count, merge, added):
    b, h, n, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    q = positive(make.tokens(b, h, n, d))
    sums = [
        attention.key_sums(k, v, mask=mask) for k, v, mask in sets(make, b, h, (m,) * count, d, e)
    ]
    residual = None
    if added:
        residual = make.plain(b, n, e) if merge else make.plain(b, h, n, e)
    assert_kernels_agree("keysum", make, q, sums, merge=merge, residual=residual)


@pytest.mark.parametrize("kernel", ["reference", "joined"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_two_steps_are_the_definition(kernel, weighted):
    make = Maker(1, torch.float64)
    q, keys = positive(make.tokens(2, 3, 7, 4)), sets(make, 2, 3, (5, 1, 9), 4, 2)
    weights = [make.plain(2, k.shape[2]).exp() for k, _, _ in keys] if weighted else None
    with attention.use(keysum=kernel):
        found = attention.keysum(
            q,
            [
                attention.key_sums(k, v, mask=mask, weights=weights[i] if weights else None)
                for i, (k, v, mask) in enumerate(keys)
            ],
        )
    torch.testing.assert_close(found, literal(q, keys, weights), rtol=1e-12, atol=1e-12)


def test_one_set_is_linear_attention_with_this_normalizer():
    make = Maker(2, torch.float64)
    q = positive(make.tokens(2, 2, 6, 3))
    ((k, v, mask),) = sets(make, 2, 2, (8,), 3, 4)
    torch.testing.assert_close(
        attention.keysum(q, [attention.key_sums(k, v, mask=mask)]),
        attention.linear(q, k, v, normalizer="keysum", mask=mask),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("kernel", ["reference", "joined"])
def test_a_projection_of_merged_heads_may_act_on_the_sums(kernel):
    make = Maker(8, torch.float64, "heads inside")
    q, residual = positive(make.tokens(2, 3, 6, 4)), make.plain(2, 6, 7)
    weight = make.plain(3, 2, 7)  # of the projection, by head
    sums = [attention.key_sums(k, v) for k, v, _ in sets(make, 2, 3, (5, 8), 4, 2)]
    folded = [torch.cat([s[..., :-1] @ weight, s[..., -1:]], dim=-1) for s in sums]
    with attention.use(keysum=kernel):
        apart = torch.einsum("bhne,heo->bno", attention.keysum(q, sums), weight)
        found = attention.keysum(q, folded, merge=True, residual=residual)
    torch.testing.assert_close(found, residual + apart, rtol=1e-12, atol=1e-12)


def test_sums_over_parts_add_up():
    make = Maker(3, torch.float64)
    ((k, v, _),) = sets(make, 2, 2, (9,), 3, 4)
    parts = [
        attention.key_sums(k[:, :, part], v[:, :, part]) for part in (slice(0, 4), slice(4, 9))
    ]
    torch.testing.assert_close(sum(parts), attention.key_sums(k, v), rtol=1e-13, atol=1e-13)


def test_equal_weights_change_nothing_and_weight_two_is_a_key_twice():
    make = Maker(4, torch.float64)
    q = positive(make.tokens(1, 2, 6, 3))
    ((k, v, _),) = sets(make, 1, 2, (5,), 3, 4)
    plain = attention.keysum(q, [attention.key_sums(k, v)])
    weights = torch.full((1, 5), 0.3, dtype=torch.float64)
    torch.testing.assert_close(
        attention.keysum(q, [attention.key_sums(k, v, weights=weights)]), plain
    )
    twice = [torch.cat([x, x[:, :, 2:3]], dim=2) for x in (k, v)]
    weights = torch.tensor([[1.0, 1, 2, 1, 1]], dtype=torch.float64)
    torch.testing.assert_close(
        attention.key_sums(k, v, weights=weights),
        attention.key_sums(*twice),
        rtol=1e-13,
        atol=1e-13,
    )


@pytest.mark.parametrize("kernel", ["reference", "joined"])
def test_a_set_without_keys_adds_nothing(kernel):
    make = Maker(5, torch.float64)
    q = positive(make.tokens(2, 2, 4, 3))
    keys = sets(make, 2, 2, (6, 0, 5), 3, 2)
    k, v, _ = keys[2]
    empty = attention.key_sums(k, v, mask=torch.zeros(2, 5, dtype=torch.bool))
    known, none = (attention.key_sums(*pair) for pair in (keys[0][:2], keys[1][:2]))
    with attention.use(keysum=kernel):
        out = attention.keysum(q, [known, none, empty])
        torch.testing.assert_close(out, attention.keysum(q, [known]), rtol=1e-13, atol=1e-13)
        alone = attention.keysum(q, [empty, none])
    assert not alone.any()
    grads = torch.autograd.grad((out + alone).sum(), make.leaves, allow_unused=True)
    assert all(g.isfinite().all() for g in grads if g is not None)


@pytest.mark.parametrize("kernel", ["reference", "joined"])
@pytest.mark.parametrize("sums", ["reference", "tokens"])
def test_first_and_second_derivatives_are_right(sums, kernel):
    make = Maker(6, torch.float64, "heads inside")
    q, k, v = make.tokens(2, 2, 3, 2), make.tokens(2, 2, 4, 2), make.tokens(2, 2, 4, 3)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    weights = make.plain(2, 4)

    def call(q, k, v, weights):
        own = attention.key_sums(k.softmax(-1), v, mask=mask, weights=weights.exp())
        other = attention.key_sums(k.exp(), v)
        return attention.keysum(
            q.softmax(-1),
            [own, other],
            merge=True,
            residual=q.sum(1).sum(-1, True).expand(-1, -1, 3),
        )

    with attention.use(key_sums=sums, keysum=kernel):
        assert torch.autograd.gradcheck(call, (q, k, v, weights))
        assert torch.autograd.gradgradcheck(call, (q, k, v, weights))


@pytest.mark.parametrize("masked", [False, True])
def test_long_sequences_pass_through_several_blocks(masked):
    make = Maker(7, torch.float64, "heads inside")
    k, v = make.tokens(2, 8, 1300, 32), make.tokens(2, 8, 1300, 24)
    assert_kernels_agree("key_sums", make, k, v, mask=make.mask(2, 1300) if masked else None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kernel", ["reference", "tokens"])
def test_many_keys_in_16_bits(kernel, dtype):
    keys = 100_000  # more than the largest number of float16
    k = torch.full((2, 2, keys, 4), 0.25, dtype=dtype)
    v, mask = torch.full_like(k, 3.0), torch.ones(2, keys, dtype=torch.bool)
    with attention.use(key_sums=kernel):
        sums = [attention.key_sums(k, v, mask=m) for m in (None, mask)]
    assert all(one.dtype == torch.float32 for one in sums)
    torch.testing.assert_close(sums[0][..., -1], torch.full((2, 2, 4), keys / 4), rtol=5e-3, atol=0)
    out = attention.keysum(k[:, :, :5], sums)
    assert out.dtype == dtype
    torch.testing.assert_close(out, torch.full_like(out, 6.0), rtol=1e-2, atol=0)


@pytest.mark.parametrize("size", [1e-12, 1e9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_measures_that_16_bits_do_not_hold(dtype, size):
    make = Maker(0, torch.float32)
    q, k, v = (
        positive(make.plain(2, 2, 4, 3)),
        positive(make.plain(2, 2, 9, 3)),
        make.plain(2, 2, 9, 3),
    )
    weights = size * make.plain(2, 9).exp()
    expected = attention.keysum(q, [attention.key_sums(k, v, weights=weights)])
    small = attention.key_sums(k.to(dtype), v.to(dtype), weights=weights)
    found = attention.keysum(q.to(dtype), [small])
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.05)


def test_weights_of_masked_keys_may_be_anything():
    make = Maker(0, torch.float64)
    k, v = positive(make.plain(2, 2, 5, 3)), make.plain(2, 2, 5, 3)
    mask = torch.tensor([[True, True, False, True, False]])
    weights = make.plain(2, 5).exp()
    spoilt = weights.masked_fill(~mask, torch.nan)
    torch.testing.assert_close(
        attention.key_sums(k, v, mask=mask, weights=spoilt),
        attention.key_sums(k, v, mask=mask, weights=weights),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_many_keys_under_autocast(dtype):
    k, v = torch.full((1, 1, 100_000, 4), 0.25), torch.full((1, 1, 100_000, 4), 3.0, dtype=dtype)
    with torch.autocast("cpu", dtype=dtype):
        out = attention.keysum(k[:, :, :5], [attention.key_sums(k, v)])
    torch.testing.assert_close(out.float(), torch.full((1, 1, 5, 4), 3.0), rtol=1e-2, atol=0)


def both(q, k, v):
    mask = torch.arange(k.shape[2]).expand(k.shape[0], -1) != 1
    own = attention.key_sums(k.softmax(-1), v, mask=mask)
    return attention.keysum(q.softmax(-1), [own, attention.key_sums(k.exp(), v)])


def tokens():
    torch.manual_seed(0)
    return [torch.randn(2, 24, 2, 4).transpose(1, 2).requires_grad_() for _ in range(3)]


def test_compiles_without_graph_break():
    torch.compiler.reset()
    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    inputs = tokens()
    out, expected = compiled(*inputs), both(*inputs)
    torch.testing.assert_close(out, expected)
    for mine, theirs in zip(
        torch.autograd.grad(out.sum(), inputs),
        torch.autograd.grad(expected.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_exports_plain_torch_operations():
    class Module(torch.nn.Module):
        def forward(self, q, k, v):
            return both(q, k, v)

    inputs = tuple(tokens())
    n = torch.export.Dim("n", min=2, max=4096)
    program = torch.export.export(Module(), inputs, dynamic_shapes=({2: n},) * 3)
    torch.testing.assert_close(program.module()(*inputs), both(*inputs))
    assert not [node for node in program.graph.nodes if "surform" in str(node.target)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q, k, s: attention.keysum(q, []), "at least one set"),
        (lambda q, k, s: attention.keysum(q[0], [s]), r"q has shape \(2, 3, 4\)"),
        (
            lambda q, k, s: attention.keysum(q, [s[:, :1]]),
            r"expected \(batch, heads, width, e \+ 1\)",
        ),
        (lambda q, k, s: attention.keysum(q, [s, s[..., :-1]]), "one e for all sets"),
        (
            lambda q, k, s: attention.keysum(q, [s], merge=True, residual=q),
            r"residual has shape \(2, 2, 3, 4\), the result \(2, 3, 4\)",
        ),
        (
            lambda q, k, s: attention.key_sums(k, k, weights=torch.ones(2, 5)),
            r"weights have shape \(2, 5\), expected \(batch, keys\) = \(2, 3\)",
        ),
        (
            lambda q, k, s: attention.key_sums(k, k, mask=torch.ones(2, 3)),
            "mask is torch.float32, expected bool",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message):
    k = torch.ones(2, 2, 3, 4)
    with pytest.raises(ValueError, match=message):
        call(k, k, attention.key_sums(k, k))


def test_other_numbers_are_refused():
    k = torch.ones(2, 2, 3, 4)
    with pytest.raises(TypeError, match="all tensors need one dtype"):
        attention.keysum(k, [attention.key_sums(k.double(), k.double())])
