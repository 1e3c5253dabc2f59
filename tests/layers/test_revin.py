"""RevIN: the formula, its inverse, constant statistics, and nothing kept between calls."""

from __future__ import annotations

import pytest
import torch

from surform.layers.revin import RevIN


def layer(variates: int | None) -> RevIN:
    torch.manual_seed(0)
    made = RevIN(variates).double()
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return made


def series(*shape: int) -> torch.Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64) + 100


def test_it_is_the_published_formula():
    revin, x, y = layer(4), series(3, 10, 4), torch.randn(3, 5, 4).double()
    mean = x.mean(1, keepdim=True)
    deviation = (((x - mean) ** 2).mean(1, keepdim=True) + 1e-5) ** 0.5
    found, statistics = revin.normalize(x)
    torch.testing.assert_close(found, (x - mean) / deviation * revin.weight + revin.bias)
    expected = (y - revin.bias) / (revin.weight + 1e-10) * deviation + mean
    torch.testing.assert_close(revin.denormalize(y, statistics), expected)


@pytest.mark.parametrize("variates", [None, 4])
def test_the_inverse_gives_the_series_back(variates):
    revin, x = layer(variates), series(3, 10, 4)
    torch.testing.assert_close(revin.denormalize(*revin.normalize(x)), x)


@pytest.mark.parametrize("variates", [None, 4])
def test_two_batches_may_be_under_way_at_once(variates):
    revin, first, second = layer(variates), series(3, 10, 4), series(2, 7, 4)
    a, of_first = revin.normalize(first)
    b, of_second = revin.normalize(second)
    torch.testing.assert_close(revin.denormalize(a, of_first), first)
    torch.testing.assert_close(revin.denormalize(b, of_second), second)


@pytest.mark.parametrize("variates", [None, 4])
def test_the_statistics_carry_no_gradient(variates):
    revin, x = layer(variates), series(2, 6, 4).requires_grad_()
    normalized, statistics = revin.normalize(x)
    assert not statistics.mean.requires_grad
    assert not statistics.deviation.requires_grad
    weight = 1 if variates is None else revin.weight
    (gradient,) = torch.autograd.grad(normalized.sum(), x)
    torch.testing.assert_close(gradient, (weight / statistics.deviation).expand_as(x).detach())


def test_without_affine_nothing_is_learned_and_any_number_of_variates_goes():
    revin = RevIN()
    assert list(revin.parameters()) == []
    assert revin.normalize(torch.randn(2, 5, 3))[0].shape == (2, 5, 3)
    assert revin.normalize(torch.randn(2, 5, 9))[0].shape == (2, 5, 9)


@pytest.mark.parametrize("variates", [None, 2])
def test_constant_series_and_one_step_stay_finite(variates):
    revin = RevIN(variates)
    for x in (torch.full((2, 8, 2), 5.0), torch.randn(2, 1, 2)):
        normalized, statistics = revin.normalize(x)
        assert normalized.abs().max() < 1e-3
        torch.testing.assert_close(revin.denormalize(normalized, statistics), x)


def test_wrong_arguments_and_shapes_are_named():
    with pytest.raises(ValueError, match="variates is 0"):
        RevIN(0)
    with pytest.raises(ValueError, match="eps is 0"):
        RevIN(eps=0)
    with pytest.raises(ValueError, match=r"has shape \(2, 5, 3\), but must be \(b, l, 4\)"):
        RevIN(4).normalize(torch.randn(2, 5, 3))
    with pytest.raises(ValueError, match=r"must be \(b, l, v\)"):
        RevIN().normalize(torch.randn(5, 3))
