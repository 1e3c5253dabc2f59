"""Dropout by hashing: share, correlations, gradients, reproducibility, where it steps aside."""

from __future__ import annotations

import pytest
import torch

from surform.layers.hashed_noise import BLOCK, Noise, dropout, hashes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [0.001, 0.1, 0.2, 0.45])
def test_the_share_that_is_dropped_and_the_scale_are_right(dtype, p):
    torch.manual_seed(0)
    x = torch.ones(BLOCK + 5000, dtype=dtype)
    draws = [dropout(x, p) for _ in range(8)]
    dropped = torch.stack([(y == 0).double().mean() for y in draws]).mean().item()
    assert abs(dropped - p) < 4.5 * (p * (1 - p) / (8 * len(x))) ** 0.5
    for y in draws:
        torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_behave_like_independent_ones(dtype):
    torch.manual_seed(0)
    p, count, draws = 0.2, 4096, 1500
    x = torch.ones(count, dtype=dtype)
    kept = torch.stack([(dropout(x, p) != 0).double() - (1 - p) for _ in range(draws)])
    variance = p * (1 - p)
    # means of a draw and means of an element scatter as those of independent numbers do
    assert kept.mean(1).std() == pytest.approx((variance / count) ** 0.5, rel=0.08)
    assert kept.mean(0).std() == pytest.approx((variance / draws) ** 0.5, rel=0.08)
    for shift in (1, 2, 64, 1000):
        correlation = (kept[:, shift:] * kept[:, :-shift]).mean() / variance
        assert abs(correlation) < 5 / (count * draws) ** 0.5
    assert abs((kept[1:] * kept[:-1]).mean() / variance) < 5 / (count * draws) ** 0.5


def test_blocks_of_one_call_differ():
    torch.manual_seed(0)
    y = dropout(torch.ones(2 * BLOCK), 0.2)
    assert ((y[:BLOCK] == 0) != (y[BLOCK:] == 0)).float().mean() == pytest.approx(0.32, abs=0.01)


def test_the_gradient_has_the_same_mask_to_any_order():
    x = torch.randn(3, 50, dtype=torch.float64, requires_grad=True)

    def seeded(x):
        torch.manual_seed(1)
        return dropout(x.t(), 0.3).square()

    assert torch.autograd.gradcheck(seeded, x)
    assert torch.autograd.gradgradcheck(seeded, x)


def test_the_seed_decides():
    x = torch.ones(1000)
    first, second, third = ((torch.manual_seed(seed), dropout(x, 0.2))[1] for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_noise_is_made_again_from_its_block():
    noise = Noise(3, 0.1, torch.float32)
    first, second = (noise.draw(2, torch.empty(100)) for _ in range(2))
    assert torch.equal(first.view(torch.int32), second.view(torch.int32))


def test_other_tensors_get_torchs_dropout():
    torch.manual_seed(0)
    assert not hashes(torch.ones(3, dtype=torch.bfloat16), 0.1)
    assert not hashes(torch.ones(3), 0.6)
    for x, p in ((torch.ones(4000, dtype=torch.bfloat16), 0.1), (torch.ones(4000), 0.6)):
        assert (dropout(x, p) == 0).float().mean() == pytest.approx(p, abs=0.03)
    assert torch.equal(dropout(torch.ones(5), 0.0), torch.ones(5))
    assert dropout(torch.ones(0), 0.1).shape == (0,)
