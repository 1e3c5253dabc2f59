"""How a kernel is chosen, asked for, refused and added."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from surform import attention
from surform.attention import dispatch


@pytest.fixture
def qkv():
    return tuple(torch.randn(1, 2, 6, 4) for _ in range(3))


@pytest.fixture
def registry(monkeypatch):
    """A copy of the registry, so that kinds and kernels of a test go away again."""
    copy = {
        name: dispatch._Kind(one.function, one.example, one.kernels)
        for name, one in dispatch._KINDS.items()
    }
    monkeypatch.setattr(dispatch, "_KINDS", copy)
    monkeypatch.setattr(dispatch, "_CHOICES", {})


def test_second_order_turns_fused_kernels_away(qkv):
    assert attention.explain("softmax", *qkv).chosen == "sdpa"
    second = attention.explain("softmax", *qkv, second_order=True)
    assert second.chosen == "sdpa_math"
    assert {name: why for name, _, why in second.rows}["sdpa"] == (
        "the fused kernels have no second derivative"
    )


def test_the_cheaper_association_is_chosen():
    def call(n, m, d):
        q, k = torch.randn(1, 1, n, d), torch.randn(1, 1, m, d)
        return attention.explain("fourier", q, k, k)

    assert call(100, 100, 8).chosen == "factored"
    assert call(8, 8, 64).chosen == "scores"
    assert "fewer multiplications" in str(call(8, 8, 64))


@pytest.mark.parametrize(
    ("shape", "linear", "fourier", "normalized"),
    [
        ((2, 8, 1024, 64), "tokens", "tokens", "folded"),
        ((1, 8, 1024, 64), "reference", "factored", "folded"),  # nothing to copy
        ((8, 1, 1024, 96), "reference", "factored", "reference"),
        ((2, 4, 64, 32), "reference", "factored", "reference"),  # too small
    ],
)
def test_cpu_kernels_are_chosen_where_they_were_measured_to_pay(shape, linear, fourier, normalized):
    q, one = torch.randn(shape), torch.ones(shape[1], shape[3])
    assert attention.explain("linear", q, q, q).chosen == linear
    assert attention.explain("fourier", q, q, q).chosen == fourier
    norms = {"norm_k": (one, one), "norm_v": (one, one)}
    assert attention.explain("normalized_linear", q, q, q, **norms).chosen == normalized
    assert attention.explain("linear", q.half(), q.half(), q.half()).chosen == "reference"


def test_use_asks_by_name_and_ends_with_its_block(qkv):
    with attention.use("reference"):
        assert attention.explain("softmax", *qkv).chosen == "reference"
        with attention.use(softmax="sdpa"):
            assert attention.explain("softmax", *qkv).chosen == "sdpa"
            assert attention.explain("linear", *qkv).chosen == "reference"
        with attention.use("auto"):
            assert attention.explain("softmax", *qkv).chosen == "sdpa"
    assert attention.explain("softmax", *qkv).chosen == "sdpa"


def test_a_requested_kernel_that_cannot_run_raises_with_its_reason(qkv):
    with attention.use("sdpa"), pytest.raises(ValueError, match="no second derivative"):
        attention.softmax(*qkv, second_order=True)
    with attention.use("flex"), pytest.raises(ValueError, match="CUDA only"):
        attention.softmax(*qkv)
    with attention.use("flex"):  # other kinds have no kernel of this name
        attention.linear(*qkv)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("sdp",), "unknown attention kernel 'sdp': did you mean sdpa"),
        ({"softmax": "tokens"}, "unknown softmax attention kernel 'tokens'"),
        ({"sofmax": "sdpa"}, "unknown attention kind 'sofmax': did you mean softmax"),
    ],
)
def test_unknown_names_are_answered_with_the_closest(names, message):
    args, kwargs = (names, {}) if isinstance(names, tuple) else ((), names)
    with pytest.raises(ValueError, match=message), attention.use(*args, **kwargs):
        pass


def test_a_choice_is_remembered_until_the_request_changes(qkv, registry):
    asked = []

    @dispatch.register("linear", "spy", priority=99, supports=lambda call: asked.append(1) or "spy")
    def spy(**tensors):
        raise AssertionError

    for _ in range(3):
        attention.linear(*qkv)
    assert len(asked) == 1
    with attention.use("reference"):
        attention.linear(*qkv)
    attention.linear(*qkv)
    assert len(asked) == 1
    attention.linear(*(x[:, :, :5] for x in qkv))
    assert len(asked) == 2


def test_a_new_kind_needs_one_file(registry):
    @attention.kind("mean", lambda sizes, make: ((make(1, 2, sizes.tokens, 4),), {}))
    def mean(v):
        return dispatch.dispatch("mean", {"v": v}, {})

    @attention.register("mean", "reference")
    def reference(v):
        """All tokens alike."""
        return v.mean(2, keepdim=True).expand_as(v)

    @attention.register("mean", "fast", priority=5, pays=lambda call: "never")
    def fast(v):
        return reference(v)

    v = torch.randn(1, 2, 5, 4)
    torch.testing.assert_close(mean(v), reference(v))
    assert attention.explain("mean", v).rows == (
        ("fast", "able", "never"),
        ("reference", "chosen", "All tokens alike"),
    )
    with attention.use("fast"):
        mean(v)
    with pytest.raises(ValueError, match="exists already"):
        attention.kind("mean")(mean)
    with pytest.raises(ValueError, match="has a kernel named 'fast' already"):
        attention.register("mean", "fast")(fast)


def test_the_environment_chooses_for_a_whole_run():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import torch; from surform import attention; q = torch.randn(1, 2, 6, 4);"
            "print(*(attention.explain(k, q, q, q).chosen for k in ('softmax', 'linear')))",
        ],
        env={**os.environ, "SURFORM_ATTENTION": "softmax=sdpa_math, linear=reference"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["sdpa_math", "reference"], done.stderr


@pytest.mark.parametrize("value", ["refrence", "linear=refrence"])
def test_a_misspelt_environment_is_answered_at_the_first_call(qkv, monkeypatch, value):
    monkeypatch.setattr(dispatch, "_REQUESTS", dispatch._Requests([dispatch._parse(value)]))
    with pytest.raises(ValueError, match="did you mean reference"):
        attention.linear(*qkv)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q: attention.softmax(q[0], q, q), ValueError, "q has shape"),
        (lambda q: attention.softmax(q, q[:, :1], q), ValueError, "do not fit"),
        (lambda q: attention.softmax(q[..., :0], q[..., :0], q), ValueError, "width 0"),
        (lambda q: attention.softmax(q, q, q.double()), TypeError, "one dtype"),
        (lambda q: attention.softmax(q.int(), q.int(), q.int()), TypeError, "floating-point"),
        (lambda q: attention.softmax(q, q, q, dropout_p=1.0), ValueError, "dropout_p is 1.0"),
        (lambda q: attention.softmax(q, q, q, bias=q), ValueError, "bias has shape"),
        (lambda q: attention.linear(q, q, q, mask=q[0, 0] > 0), ValueError, "mask has shape"),
        (lambda q: attention.linear(q, q, q, mask=q[:, 0, :, 0]), ValueError, "expected bool"),
        (lambda q: attention.linear(q, q, q, normalizer="len"), ValueError, "none of length"),
        (lambda q: attention.linear(q, q, q, score_dropout=q), ValueError, "score_dropout has"),
        (lambda q: attention.axial(q, []), ValueError, "0 kernels for a grid of 1 axes"),
        (lambda q: attention.axial(q, [q]), ValueError, "kernel 0 has shape"),
        (lambda q: attention.axial(q[0], [q]), ValueError, "v has shape"),
        (lambda q: attention.explain("softmx", q, q, q), ValueError, "did you mean softmax"),
    ],
)
def test_bad_arguments_are_named(qkv, call, error, message):
    with pytest.raises(error, match=message):
        call(qkv[0])
