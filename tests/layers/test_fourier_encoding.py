"""Encodings of positions, and what is kept of them from call to call."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

from surform.layers.fourier_encoding import FourierEncoding


def axes(*sizes: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.linspace(0, 1, n, dtype=torch.float64) for n in sizes)


def fresh(encoding: FourierEncoding, x: tuple[torch.Tensor, ...]) -> torch.Tensor:
    positions = torch.stack(torch.meshgrid(*x, indexing="ij"), -1)
    phase = 2 * math.pi * positions @ encoding.frequencies
    return encoding.project(torch.cat((phase.sin(), phase.cos()), -1))


@pytest.mark.parametrize("sizes", [(5,), (5, 4), (3, 1, 4)], ids=str)
def test_equals_the_formula(sizes):
    encoding = FourierEncoding(len(sizes), 8, scale=2.0).double()
    torch.testing.assert_close(encoding(axes(*sizes)), fresh(encoding, axes(*sizes)))


@torch.no_grad()
def test_is_kept_without_gradients():
    encoding = FourierEncoding(2, 8).double()
    assert encoding(axes(5, 4)) is encoding(axes(5, 4))


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.project.weight.add_(1),
        lambda e: e.project.weight.data.mul_(2),  # leaves no trace in the version counter
        lambda e: e.project.bias.data.fill_(3),
        lambda e: setattr(e.project.weight, "data", torch.ones(8, 8, dtype=torch.float64)),
        lambda e: e.frequencies.data.neg_(),
        lambda e: e.load_state_dict(FourierEncoding(2, 8).double().state_dict()),
    ],
)
def test_any_change_of_weights_is_seen(change):
    encoding, x = FourierEncoding(2, 8).double(), axes(5, 4)
    encoding(x)
    change(encoding)
    torch.testing.assert_close(encoding(x), fresh(encoding, x))


@torch.no_grad()
def test_other_coordinates_and_dtypes_are_seen():
    encoding, x = FourierEncoding(2, 8).double(), axes(5, 4)
    encoding(x)
    x[0][2] += 0.1
    torch.testing.assert_close(encoding(x), fresh(encoding, x))
    x = axes(6, 4)
    torch.testing.assert_close(encoding(x), fresh(encoding, x))
    assert encoding.float()(tuple(t.float() for t in x)).dtype == torch.float32


def test_training_after_inference_mode():
    encoding, x = FourierEncoding(2, 8).double(), axes(5, 4)
    with torch.inference_mode():
        encoding(x)
    encoding(x).sum().backward()
    first = encoding.project.weight.grad.clone()
    with torch.inference_mode():
        encoding(x)
    encoding(x).sum().backward()
    torch.testing.assert_close(encoding.project.weight.grad, 2 * first)


def test_what_is_kept_does_not_travel():
    encoding, x = FourierEncoding(2, 8).double(), axes(5, 4)
    with torch.no_grad():
        encoding(x)
    for twin in (copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):
        assert not twin._kept
        torch.testing.assert_close(twin(x), encoding(x))
    assert set(encoding.state_dict()) == {"frequencies", "project.weight", "project.bias"}


def test_coordinates_and_frequencies_get_gradients():
    encoding = FourierEncoding(2, 8).double()
    x = [t.requires_grad_() for t in axes(5, 4)]
    assert torch.autograd.gradcheck(lambda *x: encoding(x), x)
    encoding.frequencies.requires_grad_()
    encoding(axes(5, 4)).sum().backward()
    assert encoding.frequencies.grad is not None
