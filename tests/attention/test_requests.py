"""What `use` asks for: blocks of several threads, and second derivatives."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from surform import attention
from surform.operators.galerkin import GalerkinTransformer1d


def test_blocks_that_end_in_another_order_leave_nothing_behind():
    first, second = attention.use("reference"), attention.use("sdpa_math")
    q = torch.randn(1, 1, 4, 2)
    usual = attention.explain("softmax", q, q, q).chosen
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert attention.explain("softmax", q, q, q).chosen == "sdpa_math"
    second.__exit__(None, None, None)
    assert attention.explain("softmax", q, q, q).chosen == usual


def test_explain_does_not_touch_the_calls_of_other_threads():
    q, results, stop = torch.randn(1, 2, 16, 8), [], threading.Event()
    expected = attention.softmax(q, q, q)

    def forward() -> None:
        while not stop.is_set():
            try:
                results.append(bool(torch.equal(attention.softmax(q, q, q), expected)))
            except Exception as error:
                results.append(error)
                return

    thread = threading.Thread(target=forward)
    thread.start()
    for _ in range(1000):
        attention.explain("linear", q, q, q)
    stop.set()
    thread.join()
    assert results
    assert all(result is True for result in results), results[-1]


def _slope(model: torch.nn.Module, u: Tensor) -> Tensor:
    y = model(u, (torch.linspace(0, 1, 12, dtype=u.dtype),))
    return torch.autograd.grad(y.sum(), u, create_graph=True)[0]


def _twice(model: torch.nn.Module) -> tuple[Tensor, list[Tensor]]:
    """d|dy/du|^2 by the input and by the parameters."""
    own = [p for p in model.parameters() if p.requires_grad]
    u = torch.linspace(-1, 1, 12, dtype=own[0].dtype).sin().view(1, 12, 1).requires_grad_()
    size = _slope(model, u).square().sum()
    found = torch.autograd.grad(size, [u, *own], allow_unused=True)
    return u, [torch.zeros(()) if g is None else g for g in found]


@pytest.mark.parametrize("kind", ["galerkin", "linear", "fourier", "softmax"])
def test_second_derivatives_of_a_model_are_asked_for_from_outside(kind):
    torch.manual_seed(0)
    model = GalerkinTransformer1d(dim=8, depth=1, decoder_dim=4, modes=3, attention=kind).double()
    with attention.use(second_order=True):
        u, found = _twice(model.eval())
        direction = torch.linspace(-1, 1, 12, dtype=torch.float64).cos().view_as(u)
        sizes = [
            _slope(model, (u + h * direction).detach().requires_grad_()).square().sum().item()
            for h in (1e-5, -1e-5)
        ]
    exact = (found[0] * direction).sum().item()
    assert exact == pytest.approx((sizes[0] - sizes[1]) / 2e-5, rel=1e-5)
    assert abs(exact) > 1e-9
    with attention.use("reference"):
        _, expected = _twice(model)
    torch.testing.assert_close(found, expected)


def test_second_derivatives_that_nobody_asked_for_are_one_sentence():
    model = GalerkinTransformer1d(dim=8, depth=1, decoder_dim=4, modes=3, attention="softmax")
    with pytest.raises(ValueError, match=r"use\(second_order=True\)"):
        _twice(model)


def test_requests_for_kernels_and_for_second_derivatives_go_together():
    q = torch.randn(1, 1, 4, 2)
    with attention.use(second_order=True):
        assert attention.explain("softmax", q, q, q).chosen == "sdpa_math"
        with attention.use("reference"):
            assert attention.explain("softmax", q, q, q).chosen == "reference"
        with attention.use("sdpa"), pytest.raises(ValueError, match="no second derivative"):
            attention.softmax(q, q, q)
        with attention.use("auto", second_order=False):
            assert attention.explain("softmax", q, q, q).chosen == "sdpa"
    assert attention.explain("softmax", q, q, q).chosen == "sdpa"
