"""What `use` asks for: blocks of several threads, and second derivatives."""

from __future__ import annotations

import threading

import pytest
import torch

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
    q, failures, stop = torch.randn(1, 2, 16, 8), [], threading.Event()

    def forward() -> None:
        while not stop.is_set():
            try:
                attention.softmax(q, q, q)
            except Exception as error:
                failures.append(error)
                return

    thread = threading.Thread(target=forward)
    thread.start()
    for _ in range(1000):
        attention.explain("linear", q, q, q)
    stop.set()
    thread.join()
    assert not failures


def _twice(model: torch.nn.Module) -> None:
    u = torch.randn(1, 12, 1, requires_grad=True)
    y = model(u, (torch.linspace(0, 1, 12),))
    (slope,) = torch.autograd.grad(y.sum(), u, create_graph=True)
    slope.square().sum().backward()


@pytest.mark.parametrize("kind", ["galerkin", "linear", "fourier", "softmax"])
def test_second_derivatives_of_a_model_are_asked_for_from_outside(kind):
    model = GalerkinTransformer1d(dim=8, depth=1, decoder_dim=4, modes=3, attention=kind)
    with attention.use(second_order=True):
        _twice(model)
    with attention.use("reference"):
        _twice(model)


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
