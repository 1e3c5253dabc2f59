"""Pathformer's parts: routing, decomposition, dispatch and combination, norm."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from surform.forecasting.pathformer_combination import Paths, combine
from surform.forecasting.pathformer_decomposition import moving_average, seasonality
from surform.forecasting.pathformer_norm import ChannelNorm
from surform.forecasting.pathformer_router import Router, squared_variation


def history(batch: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 24, 4, generator=generator, dtype=dtype).cumsum(1)


class TestRouter:
    def test_gates_are_shares_of_the_best(self):
        torch.manual_seed(0)
        router = Router(24, 4, 5, 2).double().eval()
        routes = router(history().permute(1, 2, 0))
        gates = routes.dense(5)
        torch.testing.assert_close(gates.sum(1), torch.ones(5, dtype=torch.float64))
        assert ((gates > 0).sum(1) == 2).all()
        assert torch.equal(routes.load, (gates > 0).sum(0))

    def test_noise_moves_the_choice_and_the_expected_load_is_its_mean(self):
        """With the other experts' noise as it is, the expected load is a probability per sample."""
        torch.manual_seed(0)
        router = Router(24, 4, 3, 1).double().train()
        s = history(40).permute(1, 2, 0)
        loads, counts = [], []
        for _ in range(300):
            routes = router(s)
            loads.append(routes.load)
            counts.append((routes.dense(3) > 0).double().sum(0))
        loads, counts = torch.stack(loads).mean(0), torch.stack(counts).mean(0)
        torch.testing.assert_close(loads, counts, rtol=0.05, atol=0.3)

    def test_balance_costs_nothing_and_imbalance_something(self):
        assert squared_variation(torch.full((4,), 3.0)) == 0
        assert squared_variation(torch.tensor([5.0])) == 0
        assert squared_variation(torch.tensor([4.0, 0.0])).item() == pytest.approx(2.0)

    def test_16_bit_routing_is_computed_in_32_bits(self):
        torch.manual_seed(0)
        router = Router(24, 4, 3, 2).eval()
        s = history(dtype=torch.float32).permute(1, 2, 0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = router(s)
        torch.testing.assert_close(found.log_gates, router(s).log_gates)


class TestDecomposition:
    @pytest.mark.parametrize("length", [24, 25])
    def test_three_waves_are_found_and_nothing_else(self, length):
        t = torch.arange(length, dtype=torch.float64)[:, None, None]
        waves = [
            a * torch.cos(2 * math.pi * f * t / length + f) for a, f in ((3, 2), (2, 5), (1, 7))
        ]
        weak = 0.5 * torch.cos(2 * math.pi * 9 * t / length)
        s = 4.0 + sum(waves) + weak
        torch.testing.assert_close(seasonality(s), sum(waves))

    def test_the_fastest_wave_and_the_mean_are_no_seasons(self):
        t = torch.arange(24, dtype=torch.float64)[:, None, None]
        s = 5.0 + torch.cos(math.pi * t)
        torch.testing.assert_close(seasonality(s), torch.zeros_like(s), atol=1e-12, rtol=0)

    def test_short_series_have_fewer_waves(self):
        for length in (1, 2, 3, 5):
            s = torch.randn(length, 2, 3, dtype=torch.float64)
            expected = s - s.mean(0)
            if length % 2 == 0:
                expected = torch.zeros_like(s)
            torch.testing.assert_close(seasonality(s), expected)

    @pytest.mark.parametrize("kernel", [4, 8, 12])
    def test_moving_averages_repeat_the_ends(self, kernel):
        s = torch.arange(20, dtype=torch.float64)[:, None, None]
        found = moving_average(s, kernel)[:, 0, 0]
        front = kernel - 1 - (kernel - 1) // 2
        for i in (0, 10, 19):
            window = [min(max(i - front + j, 0), 19) for j in range(kernel)]
            assert found[i].item() == pytest.approx(sum(window) / kernel)


class TestCombination:
    def test_pairs_reach_their_expert_and_return(self):
        experts = torch.tensor([[2, 0], [1, 2], [0, 2], [2, 1]])
        paths = Paths(experts, 4)
        u = torch.arange(8.0).view(2, 4)
        parts = paths.dispatch(u)
        assert [part.shape[1] for part in parts] == [2, 2, 4, 0]
        assert torch.equal(parts[0], u[:, [0, 2]])
        assert torch.equal(parts[2], u)
        marked = paths.collect([part + 100 * (i + 1) for i, part in enumerate(parts)])
        expected = u.unsqueeze(1) + 100.0 * (experts.t() + 1)
        assert torch.equal(marked, expected)

    def test_dispatch_sums_gradients_to_any_order(self):
        paths = Paths(torch.tensor([[1, 0], [1, 2], [0, 2]]), 3)

        def both(u):
            return paths.collect([x * (i + 1.0) for i, x in enumerate(paths.dispatch(u))]).square()

        u = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(both, u)
        assert torch.autograd.gradgradcheck(both, u)

    @pytest.mark.parametrize("k", [1, 2, 4])
    def test_pieces_give_the_gradients_of_the_formula(self, k):
        outputs = torch.randn(2, 3, k, 2, dtype=torch.float64, requires_grad=True)
        gates = torch.randn(k, 2, dtype=torch.float64, requires_grad=True)
        expected = torch.logsumexp(outputs + gates, dim=2)
        torch.testing.assert_close(combine(outputs, gates), expected)
        assert torch.autograd.gradcheck(combine, (outputs, gates))
        assert torch.autograd.gradgradcheck(combine, (outputs, gates))

    def test_large_outputs_do_not_overflow(self):
        outputs = torch.tensor([[[200.0], [100.0]]])  # (c, k, b)
        gates = torch.tensor([[0.25], [0.75]])
        found = combine(outputs, gates.log())
        assert found.item() == pytest.approx(200 + math.log(0.25))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_vanishing_sums_become_the_published_constant(self, dtype):
        edge = {torch.float32: 101.0, torch.float64: 743.0}[dtype]
        gates = torch.tensor([[0.5], [0.5]], dtype=dtype)
        for value in (-edge, -edge - 4):
            outputs = torch.full((1, 2, 1), value, dtype=dtype, requires_grad=True)
            total = (gates * outputs.exp()).sum(1)
            published = torch.where(total == 0, torch.finfo(torch.float64).eps, total).log()
            found = combine(outputs, gates.log())
            assert found.item() == pytest.approx(published.item(), rel=2e-2)
            assert found.item() == pytest.approx(value if value == -edge else -36.0437, abs=0.01)
            slope = torch.autograd.grad(found.sum(), outputs)[0]
            assert slope.sum().item() == pytest.approx(1.0 if value == -edge else 0.0, abs=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_channel_norm_is_torchs_batch_norm(train):
    torch.manual_seed(0)
    ours, theirs = ChannelNorm(3).double().train(train), nn.BatchNorm1d(3).double().train(train)
    state = {k: torch.rand_like(v) + 0.5 for k, v in ours.state_dict().items() if v.ndim}
    for norm in (ours, theirs):
        norm.load_state_dict(state, strict=False)
    x = torch.randn(3, 4, 5, 2, dtype=torch.float64)
    expected = theirs(x.flatten(1).t()).t().view(x.shape)
    torch.testing.assert_close(ours(x), expected)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_channel_norm_ignores_samples_that_are_not_taken():
    torch.manual_seed(0)
    x, taken = torch.randn(3, 4, 5, 4), torch.tensor([True, False, True, True])
    masked, chosen = ChannelNorm(3).train(), ChannelNorm(3).train()
    torch.testing.assert_close(masked(x, taken)[..., taken], chosen(x[..., taken]))
    torch.testing.assert_close(masked.state_dict(), chosen.state_dict())
    before = copy.deepcopy(masked.state_dict())
    masked(x, torch.zeros(4, dtype=torch.bool))
    torch.testing.assert_close(masked.state_dict(), before)
