"""Efficient kinds: kernels against the literal references, what they promise, limits, faults."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from surform import attention
from surform.attention.spectral_features import (
    fastfood,
    hadamard,
    mixture_features,
    positive_features,
)
from tests.attention.test_kernels import LAYOUTS, Maker, assert_kernels_agree, dtypes

KINDS = ("additive", "delta", "knn", "lsh", "multiresolution", "spectral")
common = settings(max_examples=12, deadline=None, derandomize=True)
lengths = st.sampled_from([1, 2, 5, 8, 16, 23])


def arguments(kind: str, make: Maker, b: int = 2, h: int = 2, n: int = 13, d: int = 3, e: int = 4):
    """(tensors that have gradients, plain options) of a call with small blocks."""
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, n, d), make.tokens(b, h, n, e)
    if kind == "additive":
        maps = {f"{m}_map": (make.plain(h, h * d), make.plain(h)) for m in ("query", "key")}
        return (q, k), maps
    if kind == "delta":
        beta = make.plain(b, n, h).sigmoid().transpose(1, 2)
        return (q, nn.functional.normalize(k, dim=-1), v, beta), {"chunk_size": 4}
    if kind == "knn":
        return (q, k, v), {"top_k": 3}
    if kind == "lsh":
        half = attention.bucket_count(n, 2) // 2
        rotations = torch.randn(d, 2, half, generator=make.generator, dtype=make.dtype)
        return (q, v, rotations), {"bucket_size": 2}
    if kind == "multiresolution":
        return (q, k, v), {"block_size": 4, "num_blocks": 5}
    return (q.exp(), k.exp(), v), {}


def called(kind: str, *args: Any, **options: Any) -> torch.Tensor:
    return getattr(attention, kind)(*args, **options)


# -- kernels against references ------------------------------------------------------------------


@dtypes
@common
@given(lengths, LAYOUTS, st.integers(0, 99), st.booleans())
def test_additive(dtype, n, layout, seed, masked):
    make = Maker(seed, dtype, layout)
    args, options = arguments("additive", make, n=n)
    mask = make.mask(2, n) if masked else None
    assert_kernels_agree("additive", make, *args, mask=mask, **options)


@dtypes
@common
@given(lengths, LAYOUTS, st.integers(0, 99), st.integers(1, 9), st.booleans(), st.booleans(),
       st.booleans())  # fmt: skip
def test_delta(dtype, n, layout, seed, chunk, masked, decays, begins):
    make = Maker(seed, dtype, layout)
    args, _ = arguments("delta", make, n=n)
    options: dict[str, Any] = {"mask": make.mask(2, n) if masked else None, "chunk_size": chunk}
    if decays:
        options["decay"] = -make.plain(2, 2, n).square()
    if begins:
        options["initial_state"] = make.plain(2, 2, 3, 4)
    assert_kernels_agree("delta", make, *args, **options)


@dtypes
@common
@given(lengths, LAYOUTS, st.integers(0, 99), st.integers(1, 3), st.booleans(), st.booleans(),
       st.booleans(), st.booleans(), st.booleans())  # fmt: skip
def test_lsh(dtype, n, layout, seed, size, masked, causal, across, duplicates, legacy):
    make = Maker(seed, dtype, layout)
    (qk, v, _), _ = arguments("lsh", make, n=n)
    shape = (2, 1, 3, 1 + seed % 3, attention.bucket_count(n, size) // 2)
    rotations = torch.randn(shape, generator=make.generator, dtype=dtype)
    legacy = legacy and dtype == torch.float64  # shares of 1e-9 have few digits in float32
    assert_kernels_agree(
        "lsh", make, qk, v, rotations, bucket_size=size, mask=make.mask(2, n) if masked else None,
        causal=causal, across_buckets=across, duplicates=duplicates, legacy_count=legacy,
    )  # fmt: skip


@dtypes
@common
@given(lengths, LAYOUTS, st.integers(0, 99), st.integers(1, 40), st.booleans(), st.booleans(),
       st.integers(0, 2), st.integers(0, 3))  # fmt: skip
def test_multiresolution(dtype, n, layout, seed, number, full, masked, first, diagonal):
    make = Maker(seed, dtype, layout)
    args, _ = arguments("multiresolution", make, n=n)
    assert_kernels_agree(
        "multiresolution", make, *args, mask=make.mask(2, n) if masked else None,
        mode="full" if full else "sparse",
        num_blocks=number, block_size=4, first_blocks=first, diagonal_blocks=diagonal,
    )  # fmt: skip


@dtypes
@common
@given(lengths, LAYOUTS, st.integers(0, 99), st.booleans())
def test_spectral(dtype, n, layout, seed, masked):
    make = Maker(seed, dtype, layout)
    args, _ = arguments("spectral", make, n=n)
    assert_kernels_agree("spectral", make, *args, mask=make.mask(2, n) if masked else None)


@dtypes
@common
@given(lengths, lengths, LAYOUTS, st.integers(0, 99), st.integers(1, 30), st.booleans(),
       st.booleans())  # fmt: skip
def test_knn(dtype, n, m, layout, seed, top_k, masked, causal):
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(2, 2, n, 3), make.tokens(2, 2, m, 3), make.tokens(2, 2, m, 4)
    options = {"mask": make.mask(2, m) if masked else None, "causal": causal}
    found = []
    for name in ("reference", "blocks"):
        with torch.no_grad(), attention.use(knn=name):
            found.append(attention.knn(q, k, v, top_k=top_k, **options))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("kind", KINDS)
def test_first_derivatives_are_right(kind: str):
    make = Maker(3, torch.float64, "heads inside")
    args, options = arguments(kind, make, h=1, n=5, d=2, e=1)
    inputs = tuple(x.detach().requires_grad_(kind != "lsh" or i < 2) for i, x in enumerate(args))
    mask = torch.tensor([[True, True, False, True, False], [False] * 5])
    for name in (kernel.name for kernel in attention.kernels(kind)):
        if (kind, name) == ("knn", "blocks"):
            continue
        with attention.use(**{kind: name}):
            assert torch.autograd.gradcheck(
                lambda *x: called(kind, *x, mask=mask, **options), inputs
            )


def test_the_fused_kernel_of_lsh_differentiates_twice():
    make = Maker(4, torch.float64, "heads inside")
    (qk, v, rotations), options = arguments("lsh", make, h=1, n=5)
    inputs = tuple(x[:1].detach().requires_grad_() for x in (qk, v))
    with attention.use(lsh="fused"):
        assert torch.autograd.gradgradcheck(
            lambda qk, v: attention.lsh(qk, v, rotations, **options), inputs
        )


# -- what each promises --------------------------------------------------------------------------


def test_the_delta_rule_goes_on_from_a_state():
    make = Maker(0, torch.float64)
    (q, k, v, beta), _ = arguments("delta", make, n=11)
    whole, end = attention.delta_states(q, k, v, beta, chunk_size=4)
    cut = [(x[:, :, :6], x[:, :, 6:]) for x in (q, k, v, beta)]
    first, state = attention.delta_states(*(a for a, _ in cut), chunk_size=4)
    then, last = attention.delta_states(*(b for _, b in cut), chunk_size=3, initial_state=state)
    torch.testing.assert_close(torch.cat((first, then), 2), whole)
    torch.testing.assert_close(last, end)


def test_masked_tokens_leave_no_trace_in_the_state():
    make = Maker(0, torch.float64)
    (q, k, v, beta), _ = arguments("delta", make, n=9)
    decay = -make.plain(2, 2, 9).square()
    keep = torch.tensor([True, False, True, True, False, True, True, False, False])
    whole, end = attention.delta_states(
        q, k, v, beta, decay=decay, mask=keep.expand(2, -1), chunk_size=4
    )
    short = [x[:, :, keep] for x in (q, k, v, beta)]
    alone, last = attention.delta_states(*short, decay=decay[:, :, keep])
    torch.testing.assert_close(whole[:, :, keep], alone)
    torch.testing.assert_close(end, last)


def test_the_nearest_of_all_keys_are_all_keys_and_fewer_come_close():
    make = Maker(0, torch.float64)
    q, k, v = (make.tokens(1, 2, 40, 8).detach() for _ in range(3))
    full = attention.softmax(q, k, v)
    errors = [float((attention.knn(q, k, v, top_k=n) - full).norm()) for n in (1, 5, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-12 < errors[-2]


def test_all_blocks_are_softmax_attention_and_more_blocks_come_closer():
    make = Maker(0, torch.float64)
    q, k, v = (make.tokens(1, 2, 64, 8).detach() for _ in range(3))
    full = attention.softmax(q, k, v)
    for mode in ("full", "sparse"):
        errors = []
        for number in (4, 32, 64):
            found = attention.multiresolution(q, k, v, num_blocks=number, mode=mode, block_size=8)
            errors.append(float((found - full).norm()))
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 1e-4 < errors[0]


def test_like_tokens_find_each_other_among_many():
    """Pairs of nearly equal vectors fall into one bucket in some round, and see little else."""
    generator = torch.Generator().manual_seed(0)
    half = 200 * nn.functional.normalize(torch.randn(1, 1, 64, 16, generator=generator), dim=-1)
    qk = torch.cat((half, half + 0.01), 2).double()
    v = torch.arange(128.0).double().view(1, 1, 128, 1)
    rotations = torch.randn(16, 8, 8, generator=generator).double()
    found = attention.lsh(qk, v, rotations, bucket_size=8)[0, 0, :, 0]
    partner = (torch.arange(128) + 64) % 128
    assert ((found - partner).abs() < 1).double().mean() > 0.95


def test_the_hash_has_no_gradient_and_padding_is_not_seen():
    make = Maker(0, torch.float64)
    (qk, v, rotations), _ = arguments("lsh", make, n=13)
    rotations.requires_grad_()
    out = attention.lsh(qk, v, rotations, bucket_size=2)
    (gradient,) = torch.autograd.grad(out.sum(), rotations, allow_unused=True)
    assert gradient is None
    ones = torch.ones_like(v)
    torch.testing.assert_close(attention.lsh(qk, ones, rotations, bucket_size=2), ones)


def test_what_comes_later_is_not_seen():
    make = Maker(0, torch.float64)
    for kind in ("delta", "lsh", "knn"):
        args, options = arguments(kind, make)
        options |= {} if kind == "delta" else {"causal": True}
        (gradient,) = torch.autograd.grad(
            called(kind, *args, **options)[:, :, 4].sum(), args[1 if kind == "lsh" else 2]
        )
        assert gradient[:, :, :5].any()
        assert not gradient[:, :, 5:].any()


def test_features_stand_for_their_kernels():
    """Means over many frequencies come close to the kernels that they are drawn for."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 1, 5, 4, dtype=torch.float64) * 0.5
    omega = torch.randn(4, 200_000, dtype=torch.float64)
    one, zero = torch.eye(4, dtype=torch.float64)[None], torch.zeros(1, 4, dtype=torch.float64)
    fx, fy = (mixture_features(z, omega, one, zero) for z in (x, y))
    gauss = (-0.5 * torch.cdist(x, y).square()).exp()
    torch.testing.assert_close(fx @ fy.mT, 2 * gauss + 1, atol=0.02, rtol=0)
    fx, fy = (positive_features(z, omega, zero, zero) for z in (x, y))
    lengths = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    torch.testing.assert_close(fx @ fy.mT, (x @ y.mT - 0.5 * lengths).exp(), atol=0.02, rtol=0)


def test_fastfood_is_its_product_of_matrices():
    torch.manual_seed(0)
    d = 8
    h = torch.ones(1, 1)
    while len(h) < d:
        h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)))
    x, diagonals = torch.randn(2, 1, 5, d), torch.randn(1, 3, d)
    order = torch.randperm(d)
    b, g, s = (torch.diag(row) for row in diagonals[0])
    p = torch.eye(d)[order]
    matrix = d**-0.5 * s @ h @ g @ p @ h @ b
    torch.testing.assert_close(fastfood(x, diagonals, order[None]), x @ matrix.T)
    torch.testing.assert_close(hadamard(x), x @ h.T)


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_come_close(kind: str, dtype: torch.dtype):
    make = Maker(0, torch.float64)
    args, options = arguments(kind, make, n=20)
    short = [x.detach().to(dtype) for x in args]
    options = {
        name: tuple(x.detach().to(dtype) for x in value) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    wide = {
        name: tuple(x.double() for x in value) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    expected = called(kind, *(x.double() for x in short), **wide)
    found = called(kind, *short, **options)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_kept_gives_numbers(kind: str):
    make = Maker(0, torch.float64)
    args, options = arguments(kind, make)
    out = called(kind, *args, mask=torch.zeros(2, 13, dtype=torch.bool), **options)
    assert out.isfinite().all()
    grads = torch.autograd.grad(out.sum(), make.leaves, allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in grads)
    if kind != "lsh":  # where a token is left with itself
        assert not out.any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_graph_break_and_exports(kind: str):
    make = Maker(0, torch.float32)
    args, options = arguments(kind, make, n=7)
    args = tuple(x.detach() for x in args)
    options = {
        name: tuple(x.detach() for x in value) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    options["mask"] = make.mask(2, 7)

    class Module(nn.Module):
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return called(kind, *tensors, **options)

    torch.compiler.reset()
    expected = Module()(*args)
    compiled = torch.compile(Module(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*args), expected)
    program = torch.export.export(Module(), args)
    torch.testing.assert_close(program.module()(*args), expected)
    assert not [node for node in program.graph.nodes if "surform" in str(node.target)]


@pytest.mark.fault
def test_what_does_not_fit_is_said_in_one_sentence():
    x = torch.randn(1, 2, 6, 4)
    beta = torch.rand(1, 2, 6)
    shorter = x[:, :, :5]
    for message, call in (
        ("delta attention is causal: q has 5 tokens, k and v 6", lambda: attention.delta(
            shorter, x, x, beta)),
        (r"beta has shape \(1, 2, 5\), expected \(batch, heads, tokens\)", lambda: attention.delta(
            x, x, x, beta[:, :, :5])),
        ("initial_state has shape", lambda: attention.delta(
            x, x, x, beta, initial_state=torch.zeros(1, 2, 3, 4))),
        ("chunk_size is 0", lambda: attention.delta(x, x, x, beta, chunk_size=0)),
        ("top_k is 0, but must be a whole number", lambda: attention.knn(x, x, x, top_k=0)),
        ("keeps nothing for a gradient", lambda: _asked("knn", "blocks", x)),
        (r"rotations have shape \(4, 2, 9\).* need .* = \(4, rounds, 2\)", lambda: attention.lsh(
            x, x, torch.randn(4, 2, 9), bucket_size=2)),
        ("bucket_size is 0", lambda: attention.lsh(x, x, torch.randn(4, 2, 1), bucket_size=0)),
        ("tokens among themselves", lambda: attention.multiresolution(shorter, x, x)),
        ("mode 'half' is none of full, sparse", lambda: attention.multiresolution(
            x, x, x, mode="half")),  # type: ignore[arg-type]
        ("block_size is 0", lambda: attention.multiresolution(x, x, x, block_size=0)),
        ("blocks_per_row is 0", lambda: attention.multiresolution(x, x, x, blocks_per_row=0)),
        ("tokens among themselves", lambda: attention.additive(
            shorter, x, query_map=(x, x), key_map=(x, x))),
        (r"query_map has shapes \(2, 7\)", lambda: attention.additive(
            x, x, query_map=(torch.ones(2, 7), torch.ones(2)), key_map=(x, x))),
        ("mask is torch.float32, expected bool", lambda: attention.spectral(
            x, x, x, mask=torch.ones(1, 6))),
        ("a power of two, not the width 6", lambda: hadamard(torch.ones(6))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


def _asked(kind: str, kernel: str, x: torch.Tensor) -> None:
    with attention.use(**{kind: kernel}):
        called(kind, *(x.clone().requires_grad_() for _ in range(3)))
