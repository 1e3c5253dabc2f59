"""Softmax over short rows, dropout from raw bits, and where the kernel made of them is taken."""

from __future__ import annotations

import pytest
import torch

from surform import attention
from surform.attention.dropping import dropout
from surform.attention.rows import softmax_rows


@pytest.mark.parametrize("entries", [1, 2, 7, 12, 15, 16, 40])
@pytest.mark.parametrize("divisor", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_short_rows_equal_torchs_softmax_to_the_second_derivative(
    entries: int, divisor: float, dtype: torch.dtype
) -> None:
    scores = (3 * torch.randn(4, 3, entries)).to(dtype).requires_grad_()
    outer, twice = torch.randn(4, 3, entries).to(dtype), torch.randn(4, 3, entries).to(dtype)
    found = []
    for weights in (softmax_rows(scores, divisor), torch.softmax(scores / divisor, -1)):
        (first,) = torch.autograd.grad(weights, scores, outer, create_graph=True)
        (second,) = torch.autograd.grad(first, scores, twice)
        found.append((weights, first, second))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=1e-5, atol=1e-2 if dtype.itemsize == 2 else 1e-5
        )


def test_rows_without_finite_spread_stay_finite() -> None:
    scores = torch.tensor([[1e30, -1e30, 0.0], [float("-inf"), 0.0, 0.0]])
    torch.testing.assert_close(
        softmax_rows(scores), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    )
    assert softmax_rows(torch.empty(0, 5)).shape == (0, 5)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_keeps_the_share_and_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    out = dropout(torch.ones(301, 997, dtype=dtype), p).double()  # no multiple of four
    values = out.unique()
    assert len(values) == 2
    assert values[0] == 0
    assert values[1] == pytest.approx(1 / (1 - p), rel=1e-2 if dtype.itemsize == 2 else 1e-3)
    deviation = (p * (1 - p) / out.numel()) ** 0.5
    assert abs((out == 0).double().mean().item() - p) < 5 * deviation
    for axis in (0, 1):  # no row or column is favoured
        share = (out == 0).double().mean(axis)
        assert abs(share - p).max() < 6 * (p * (1 - p) / out.shape[axis]) ** 0.5


def test_dropout_neighbours_are_independent() -> None:
    torch.manual_seed(2)
    dropped = (dropout(torch.ones(400_000), 0.5) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs((dropped[lag:] * dropped[:-lag]).mean().item()) < 5 * 0.25 / 400_000**0.5


def test_dropout_follows_the_seed_and_scales_gradients_alike() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(x, 0.4)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(x, 0.4))
    assert not torch.equal(first, dropout(x, 0.4))
    (gradient,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(gradient * x.detach(), first.detach())


def test_impossible_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="share to drop is 1"):
        dropout(torch.ones(3), 1.0)
    assert torch.equal(dropout(torch.ones(3), 0.0), torch.ones(3))


@pytest.mark.parametrize(
    ("shape", "options", "kernel"),
    [
        ((64, 2, 12, 8), {}, "scores"),
        ((64, 2, 12, 128), {}, "sdpa"),
        ((64, 2, 96, 8), {}, "sdpa"),
        ((64, 2, 96, 8), {"dropout_p": 0.1}, "scores"),
        ((1, 2, 12, 8), {"dropout_p": 0.1}, "sdpa"),
        ((64, 2, 12, 8), {"causal": True}, "sdpa"),
    ],
)
def test_it_is_taken_where_it_was_measured_to_pay(
    shape: tuple[int, ...], options: dict[str, object], kernel: str
) -> None:
    q = torch.randn(shape)
    assert attention.explain("softmax", q, q, q, **options).chosen == kernel
    assert attention.explain("softmax", *[q.double()] * 3).chosen == "scores"


def test_float64_rounds_as_the_definition() -> None:
    q, k, v = (10 * torch.randn(2, 3, 6, 6, dtype=torch.float64) for _ in range(3))
    expected = torch.softmax((q @ k.mT) / 6**-0.5, -1) @ v
    assert torch.equal(attention.softmax(q, k, v, scale=6**0.5), expected)


@pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="the processor does not multiply bfloat16"
)
@pytest.mark.parametrize(
    ("shape", "options", "kernel"),
    [
        ((1, 1, 256, 64), {}, "scores"),
        ((8, 4, 64, 32), {"dropout_p": 0.1}, "scores"),
        ((1, 2, 4096, 8), {}, "sdpa"),  # its scores would fill the memory
        ((1, 2, 4096, 8), {"dropout_p": 0.1}, "scores"),
        ((8, 4, 64, 32), {"causal": True}, "sdpa"),
    ],
)
def test_bfloat16_uses_the_products_that_the_processor_has(
    shape: tuple[int, ...], options: dict[str, object], kernel: str
) -> None:
    q = torch.zeros(shape, dtype=torch.bfloat16)
    assert attention.explain("softmax", q, q, q, **options).chosen == kernel


@pytest.mark.parametrize("mixed", [False, True])
def test_bfloat16_is_as_close_as_the_definition(mixed: bool) -> None:
    exact = [torch.randn(2, 3, 50, 32, requires_grad=True) for _ in range(3)]
    outer, errors = torch.randn(2, 3, 50, 32), []
    truth = attention.softmax(*exact)
    wanted = [truth, *torch.autograd.grad(truth, exact, outer)]
    for kernel in ("scores", "reference"):
        half = [x.detach().bfloat16().requires_grad_() for x in exact]
        with attention.use(softmax=kernel), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = attention.softmax(*half)
        assert out.dtype == torch.bfloat16
        found = [out, *torch.autograd.grad(out, half, outer.bfloat16())]
        errors.append([(a.float() - b).norm() for a, b in zip(found, wanted, strict=True)])
    for ours, literal in zip(*errors, strict=True):
        assert ours < 1.5 * literal
