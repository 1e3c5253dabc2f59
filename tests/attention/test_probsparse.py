"""ProbSparse attention: kernels against the literal reference, samples, active rows, limits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from surform import attention
from surform.attention import active_queries
from surform.attention.key_samples import draw_keys, sampled_count
from tests.attention.test_kernels import LAYOUTS, Maker, assert_kernels_agree, dtypes

KERNELS = [kernel.name for kernel in attention.kernels("probsparse")]


def tokens(b=2, h=2, n=30, d=4, dtype=torch.float64, seed=0):
    make = Maker(seed, dtype)
    return tuple(make.tokens(b, h, n, d) for _ in range(3))


@dtypes
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 40), st.integers(0, 40),
                 st.integers(1, 5), st.integers(1, 5)), LAYOUTS, st.integers(0, 99),
       st.integers(1, 4), st.booleans(), st.booleans())  # fmt: skip
def test_kernels_agree(dtype, sizes, layout, seed, factor, causal, given_index):
    b, h, n, m, d, e = sizes
    n = m if causal else n
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    index = None
    if given_index and m > 0:
        index = torch.randint(m, (n, 3), generator=make.generator)
    assert_kernels_agree(
        "probsparse", make, q, k, v, factor=factor, causal=causal, sample_index=index, seed=seed
    )


@pytest.mark.parametrize("limits", [(64, 50), (2**20, 0)], ids=["several blocks", "gathered"])
@pytest.mark.parametrize("layout", ["heads outside", "heads inside"])
def test_blocks_and_gathered_keys_agree_with_the_reference(monkeypatch, limits, layout):
    monkeypatch.setattr(active_queries, "_CACHED_SCORES", limits[0])
    monkeypatch.setattr(active_queries, "_MOST_SCORES", limits[0])
    monkeypatch.setattr(active_queries, "_GATHERED_ROWS", 32)
    monkeypatch.setattr(active_queries, "_GATHERED_COST", limits[1])
    make = Maker(0, torch.float64, layout)
    q, k, v = (make.tokens(2, 3, 75, 4) for _ in range(3))
    for causal in (False, True):
        assert_kernels_agree("probsparse", make, q, k, v, factor=1, causal=causal)


def by_hand(q, k, v, index, u, causal):
    """One query at a time, in Python."""
    out = torch.empty_like(v)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            n = q.shape[2]
            measures = []
            for i in range(n):
                sampled = [float(q[b, h, i] @ k[b, h, j]) for j in index[i]]
                measures.append(max(sampled) - math.fsum(sampled) / k.shape[2])
            active = sorted(range(n), key=lambda i: -measures[i])[:u]
            for i in range(n):
                seen = k.shape[2] if not causal else i + 1
                if i in active:
                    scores = k[b, h, :seen] @ q[b, h, i] / math.sqrt(q.shape[3])
                    out[b, h, i] = torch.softmax(scores, 0) @ v[b, h, :seen]
                elif causal:
                    out[b, h, i] = v[b, h, :seen].sum(0)
                else:
                    out[b, h, i] = v[b, h].mean(0)
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", [name for name in KERNELS if name != "softmax"])
def test_equals_the_definition_query_by_query(name, causal):
    q, k, v = (x.detach() for x in tokens())
    index = torch.randint(30, (30, 4), generator=torch.Generator().manual_seed(1))
    with attention.use(probsparse=name):
        out = attention.probsparse(q, k, v, factor=2, causal=causal, sample_index=index)
    torch.testing.assert_close(out, by_hand(q, k, v, index, 8, causal))


@pytest.mark.parametrize("causal", [False, True])
def test_with_every_query_active_it_is_softmax_attention(causal):
    q, k, v = tokens(n=20)
    expected = attention.softmax(q, k, v, causal=causal)
    assert attention.explain("probsparse", q, k, v, factor=50, causal=causal).chosen == "softmax"
    for name in ("auto", "reference"):
        with attention.use(probsparse=name):
            out = attention.probsparse(q, k, v, factor=50, causal=causal)
        torch.testing.assert_close(out, expected)


def test_the_default_sample_is_the_same_in_every_call_and_moves_no_generator():
    q, k, v = tokens()
    state = torch.get_rng_state()
    first = attention.probsparse(q, k, v, factor=1)
    torch.manual_seed(7)
    assert torch.equal(attention.probsparse(q, k, v, factor=1), first)
    index = draw_keys(30, 30, sampled_count(30, 1), seed=3)
    torch.set_rng_state(state)
    draw_keys(30, 30, 4)
    assert torch.equal(torch.get_rng_state(), state)
    seeded = attention.probsparse(q, k, v, factor=1, seed=3)
    assert torch.equal(seeded, attention.probsparse(q, k, v, factor=1, sample_index=index))
    assert not torch.equal(seeded, first)


def test_drawn_keys_are_uniform_and_independent():
    index = draw_keys(2000, 37, 50, seed=5)
    counts = torch.bincount(index.flatten(), minlength=37).double()
    expected = index.numel() / 37
    assert ((counts - expected) ** 2 / expected).sum() < 68  # chi^2 of 36 degrees, p = 1e-3
    other = draw_keys(2000, 37, 50, seed=6)
    for a, b in ((index[:-1], index[1:]), (index[:, :-1], index[:, 1:]), (index, other)):
        same = (a == b).double().mean()
        assert abs(same - 1 / 37) < 4 * (1 / 37 / a.numel()) ** 0.5
    assert len(index.unique(dim=0)) == 2000  # each query draws its own


@pytest.mark.parametrize(
    ("length", "factor", "count"), [(96, 5, 25), (720, 5, 35), (24, 1, 4), (1, 5, 1), (0, 5, 0)]
)
def test_numbers_of_active_queries(length, factor, count):
    assert sampled_count(length, factor) == count


def test_inactive_queries_get_the_mean_or_the_running_sum():
    q, k, v = tokens(n=60)
    for causal, default in ((False, v.mean(2, keepdim=True).expand_as(v)), (True, v.cumsum(2))):
        out = attention.probsparse(q, k, v, factor=1, causal=causal)
        default_rows = torch.isclose(out, default).all(-1).sum(-1)
        expected = 60 - sampled_count(60, 1)
        assert ((default_rows == expected) | (default_rows == expected + 1)).all()  # row 0 may tie


def test_causal_attention_of_active_queries_does_not_see_the_future():
    q, k, v = tokens(n=40)
    index = draw_keys(40, 40, 4) * 0 + torch.arange(4)  # the choice, too, rests on early keys
    out = attention.probsparse(q, k, v, factor=1, causal=True, sample_index=index)
    changed = v.clone()
    changed[:, :, 20:] += 1
    moved = attention.probsparse(q, k, changed, factor=1, causal=True, sample_index=index)
    assert torch.equal(out[:, :, :20], moved[:, :, :20])
    assert not torch.isclose(out[:, :, 20:], moved[:, :, 20:]).all(-1).any()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_first_and_second_derivatives_are_right(name, causal):
    q, k, v = tokens(n=6, d=2)
    factor = 50 if name == "softmax" else 1
    call = lambda q, k, v: attention.probsparse(q, k, v, factor=factor, causal=causal)  # noqa: E731
    with attention.use(second_order=True), attention.use(probsparse=name):
        assert torch.autograd.gradcheck(call, (q, k, v))
        assert torch.autograd.gradgradcheck(call, (q, k, v))


def test_units_as_values_show_the_weights():
    """The map that the official code returns: 1 / m, and the softmax in the active rows."""
    q, k, v = tokens(n=30)
    units = torch.eye(30, dtype=q.dtype).expand(2, 2, 30, 30)
    weights = attention.probsparse(q, k, units, factor=1)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 30, dtype=q.dtype))
    torch.testing.assert_close(weights @ v, attention.probsparse(q, k, v, factor=1))


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_and_autocast(causal):
    q, k, v = tokens(n=50, dtype=torch.float32)
    index = draw_keys(50, 50, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = attention.probsparse(q.bfloat16(), k, v, causal=causal, sample_index=index)
    half = attention.probsparse(
        q.bfloat16(), k.bfloat16(), v.bfloat16(), causal=causal, sample_index=index
    )
    assert mixed.dtype == half.dtype == torch.bfloat16
    assert half.isfinite().all()
    full = attention.probsparse(q, k, v, causal=causal, sample_index=index)
    close = torch.isclose(half.float(), full, rtol=0.05, atol=0.1).double().mean()
    assert close > 0.8  # rounding may let other queries stand out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("factor", [1, 50])
def test_compiles_and_exports(factor, causal):
    q, k, v = tokens(dtype=torch.float32)

    class Module(nn.Module):
        def forward(self, q, k, v):
            return attention.probsparse(q, k, v, factor=factor, causal=causal)

    expected = Module()(q, k, v)
    torch.compiler.reset()
    compiled = torch.compile(Module(), fullgraph=True, backend="aot_eager")
    out = compiled(q, k, v)
    torch.testing.assert_close(out, expected)
    cotangent = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad(out, (q, k, v), cotangent),
        torch.autograd.grad(expected, (q, k, v), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    batch = torch.export.Dim("batch", min=2, max=64)
    for strict in (False, True):
        program = torch.export.export(
            Module(), (q, k, v), dynamic_shapes=[{0: batch}] * 3, strict=strict
        )
        assert not [node for node in program.graph.nodes if "surform" in str(node.target)]
        wider = tuple(torch.cat((x, x, x)) for x in (q, k, v))
        torch.testing.assert_close(program.module()(*wider), Module()(*wider))


def test_wrong_calls_are_refused_in_one_sentence():
    q, k, v = tokens(n=9)
    wrong = {
        "factor is 0": {"factor": 0},
        "as many queries as keys, not 5 and 9": {"causal": True},
        r"sample_index has shape \(9,\)": {"sample_index": torch.zeros(9, dtype=torch.int64)},
        "holds 9 to 9, expected keys 0 to 8": {"sample_index": torch.full((9, 2), 9)},
    }
    for message, options in wrong.items():
        queries = q[:, :, :5] if "causal" in options else q
        with pytest.raises(ValueError, match=message):
            attention.probsparse(queries, k, v, **options)
    with pytest.raises(TypeError, match="expected int64"):
        attention.probsparse(q, k, v, sample_index=torch.zeros(9, 2))
    with (
        pytest.raises(ValueError, match="only 3 of 9 queries are active"),
        attention.use(probsparse="softmax"),
    ):
        attention.probsparse(q, k, v, factor=1)
