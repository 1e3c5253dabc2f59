"""Every kernel of every kind against the literal reference: values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surform import attention

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-4}
SIZES = st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 9), st.integers(0, 9), st.integers(1, 5),
    st.integers(1, 5),
)  # fmt: skip
LAYOUTS = st.sampled_from(["heads outside", "heads inside", "strided"])
OWN_TESTS = (
    "probsparse",
    "softmax_batch_last",
    "key_sums",
    "keysum",
    "graph",
    "additive",
    "delta",
    "knn",
    "lsh",
    "multiresolution",
    "spectral",
)  # see their own test files
FAST = {
    kind: [k.name for k in attention.kernels(kind)]
    for kind in attention.kinds()
    if kind not in OWN_TESTS
}


class Maker:
    """Random tensors from a seed, in one of three memory layouts."""

    def __init__(self, seed: int, dtype: torch.dtype, layout: str = "heads outside") -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype, self.layout, self.leaves = dtype, layout, []

    def plain(self, *shape: int) -> torch.Tensor:
        made = torch.randn(*shape, generator=self.generator, dtype=self.dtype)
        self.leaves.append(made.requires_grad_())
        return made

    def tokens(self, b: int, h: int, *rest: int) -> torch.Tensor:
        if self.layout == "heads inside":
            return self.plain(b, *rest[:-1], h, rest[-1]).movedim(-2, 1)
        if self.layout == "strided":
            return self.plain(b, h, *rest[:-1], 2 * rest[-1])[..., ::2]
        return self.plain(b, h, *rest)

    def mask(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.generator) > 0.4


def runnable(kind: str, *args, **kwargs) -> list[str]:
    rows = attention.explain(kind, *args, **kwargs).rows
    return [name for name, verdict, _ in rows if verdict != "refused" and name != "reference"]


def assert_kernels_agree(kind: str, make: Maker, *args, **kwargs) -> None:
    function = getattr(attention, kind)

    def run(name: str) -> list[torch.Tensor]:
        with attention.use(**{kind: name}):
            out = function(*args, **kwargs)
        grads = torch.autograd.grad(out.sin().sum(), make.leaves, None, True, allow_unused=True)
        return [out.detach(), *grads]

    expected = run("reference")
    names = runnable(kind, *args, **kwargs)
    assert names
    for name in names:
        for ours, theirs in zip(run(name), expected, strict=True):
            if theirs is None or ours is None:
                assert ours is None or not ours.any()
                continue
            tolerance = TOLERANCE[make.dtype] * max(
                1.0, float(theirs.abs().amax()) if theirs.numel() else 1.0
            )
            torch.testing.assert_close(
                ours, theirs, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )


common = settings(max_examples=25, deadline=None, derandomize=True)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.sampled_from([None, "keys", "scores"]),
       st.booleans(), st.booleans(), st.booleans())  # fmt: skip
def test_softmax(dtype, sizes, layout, seed, masked, biased, causal, twice):
    b, h, n, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    mask = {None: None, "keys": make.mask(b, m), "scores": make.mask(1, h, n, m)}[masked]
    bias = make.plain(b, 1, n, m) if biased else None
    assert_kernels_agree(
        "softmax", make, q, k, v, mask=mask, bias=bias, causal=causal, second_order=twice
    )


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.booleans(),
       st.sampled_from(["length", "none", "keysum"]), st.booleans())  # fmt: skip
def test_linear(dtype, sizes, layout, seed, masked, normalizer, dropped):
    b, h, n, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    if normalizer == "keysum":  # as its users have it: features that are positive
        q, k = q.exp(), k.exp()
    mask = make.mask(b, m) if masked else None
    dropout = make.mask(b, h, d, e).to(dtype) * 2 if dropped else None
    assert_kernels_agree(
        "linear", make, q, k, v, normalizer=normalizer, mask=mask, score_dropout=dropout
    )


@dtypes
@common
@given(SIZES, LAYOUTS, st.integers(0, 99), st.booleans(), st.sampled_from([None, 0.7]))
def test_fourier(dtype, sizes, layout, seed, masked, scale):
    b, h, n, m, d, e = sizes
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, m, d), make.tokens(b, h, m, e)
    mask = make.mask(b, m) if masked else None
    assert_kernels_agree("fourier", make, q, k, v, scale=scale, mask=mask)


@dtypes
@common
@given(st.integers(1, 2), st.integers(1, 3), st.lists(st.integers(0, 5), min_size=1, max_size=4),
       st.integers(1, 4), LAYOUTS, st.integers(0, 99), st.booleans())  # fmt: skip
def test_axial(dtype, b, h, grid, e, layout, seed, parallel):
    make = Maker(seed, dtype, layout)
    v = make.tokens(b, h, *grid, e)
    kernels = [make.plain(b, h, n, n) for n in grid]
    if parallel:
        with attention.use("auto"):
            expected = attention.axial(v, kernels, parallel=True)
        for i in range(len(grid)):
            alone = [torch.eye(n, dtype=dtype).expand(b, h, n, n) for n in grid]
            alone[i] = kernels[i]
            torch.testing.assert_close(expected[..., i], attention.axial(v, alone))
    assert_kernels_agree("axial", make, v, kernels, parallel=parallel)


@dtypes
@common
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 5),
       st.integers(1, 5), st.integers(0, 3), LAYOUTS, st.integers(0, 99), st.booleans(),
       st.sampled_from(["length", "none"]))  # fmt: skip
def test_normalized_linear(dtype, b, h, n, d, e, p, layout, seed, masked, normalizer):
    make = Maker(seed, dtype, layout)
    q, k, v = make.tokens(b, h, n, d), make.tokens(b, h, n, d), make.tokens(b, h, n, e)
    norms = {
        "norm_k": (make.plain(h, d), make.plain(h, d)),
        "norm_v": (make.plain(h, e), make.plain(h, e)),
    }
    x = make.plain(b, n, p) if p else None
    mask = make.mask(b, n) if masked else None
    # a generous eps: the gradient of the norm of nearly equal features is as large as 1/sqrt(eps)
    assert_kernels_agree(
        "normalized_linear", make, q, k, v, **norms, eps=0.1, coordinates=x, normalizer=normalizer,
        mask=mask,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in FAST.items() for name in names]
)
def test_first_and_second_derivatives_are_right(kind: str, name: str):
    make = Maker(3, torch.float64, "heads inside")
    q, k, v = make.tokens(2, 2, 3, 2), make.tokens(2, 2, 4, 2), make.tokens(2, 2, 4, 3)
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    function = getattr(attention, kind)
    if kind == "axial":
        v, kernels = make.tokens(2, 2, 3, 4, 2), [make.plain(2, 2, n, n) for n in (3, 4)]
        inputs = (v, *kernels)
        call = lambda v, *kernels: function(v, kernels, parallel=name == "apart")  # noqa: E731
    elif kind == "normalized_linear":
        norms = make.plain(2, 2, 2), make.plain(2, 2, 3)
        inputs = (q, k, v, *norms)
        call = lambda q, k, v, a, b: function(  # noqa: E731
            q, k, v, norm_k=a, norm_v=b, eps=0.1, mask=mask, second_order=name != "triton"
        )
    elif kind == "relu":
        inputs, call = (q, k, v), function  # has no mask
    else:
        inputs = (q, k, v)
        options = {"second_order": name != "sdpa"} if kind == "softmax" else {}
        mask = None if name == "blocks" else mask  # has none
        call = lambda q, k, v: function(q, k, v, mask=mask, **options)  # noqa: E731
    with attention.use(**{kind: name}):
        try:
            call(*inputs)
        except ValueError as refused:
            assert "CUDA only" in str(refused)  # noqa: PT017 - other kernels must not refuse
            pytest.skip(str(refused))
        assert torch.autograd.gradcheck(call, inputs)
        if (kind, name) != ("softmax", "sdpa"):
            assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("kind", ["linear", "fourier"])
@pytest.mark.parametrize("masked", [False, True])
def test_long_sequences_pass_through_several_blocks(kind: str, masked: bool):
    make = Maker(1, torch.float64, "heads inside")
    q, k, v = make.tokens(2, 8, 1500, 32), make.tokens(2, 8, 1300, 32), make.tokens(2, 8, 1300, 24)
    mask = make.mask(2, 1300) if masked else None
    assert_kernels_agree(kind, make, q, k, v, mask=mask)


def test_heads_inside_of_tokens_stay_inside():
    make = Maker(0, torch.float32, "heads inside")
    q = make.tokens(2, 4, 600, 8)
    assert attention.linear(q, q, q).transpose(1, 2).is_contiguous()
    v = make.tokens(1, 2, 64, 64, 16)
    kernels = [make.plain(1, 2, 64, 64) for _ in range(2)]
    assert attention.explain("axial", v, kernels).chosen == "slabs"
    assert attention.axial(v, kernels).movedim(1, -2).is_contiguous()


def test_a_query_without_keys_gives_zeros_and_no_nan_in_gradients():
    make = Maker(0, torch.float64)
    q, k, v = (make.tokens(1, 1, 3, 2) for _ in range(3))
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    for kind in ("softmax", "linear", "fourier"):
        out = getattr(attention, kind)(q, k, v, mask=nothing)
        assert not out.any()
        assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), make.leaves))


def test_dropout_keeps_the_expectation():
    make = Maker(0, torch.float64)
    q, k, v = (make.tokens(1, 2, 6, 4) for _ in range(3))
    torch.manual_seed(0)
    with torch.no_grad():
        mean = sum(attention.softmax(q, k, v, dropout_p=0.3) for _ in range(2000)) / 2000
        torch.testing.assert_close(mean, attention.softmax(q, k, v), atol=0.1, rtol=0)


@pytest.mark.parametrize("kind", ["softmax", "linear", "fourier"])
def test_autocast_brings_mixed_tensors_together(kind: str):
    q, k, v = torch.randn(1, 2, 8, 4), torch.randn(1, 2, 8, 4).bfloat16(), torch.randn(1, 2, 8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert getattr(attention, kind)(q, k, v).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="all tensors need one dtype"):
        getattr(attention, kind)(q, k, v)
