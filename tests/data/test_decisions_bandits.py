"""Bandits and who plays them: rewards, posteriors against their formulas, regrets in order."""

from __future__ import annotations

import pytest
import torch

from surform.data.decisions_bandits import (
    Bandits,
    bernoulli_bandits,
    gaussian_bandits,
    linear_bandits,
)
from surform.data.decisions_linear_posterior import LinearPosterior
from surform.data.decisions_linucb import LinUCB
from surform.data.decisions_players import UCB, EmpiricalMean, Skewed, Uniform, play
from surform.data.decisions_thompson import BetaThompson, LinearThompson


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def regret(player, bandits, rounds=60):
    luck = bandits.luck(rounds, generator(1))
    return bandits.regret(play(player, bandits, luck, generator(2)).actions).sum(1).mean().item()


def test_linear_bandits_are_drawn_as_published():
    shared = linear_bandits(20_000, generator(), features=3, dtype=torch.float64)
    assert torch.equal(shared.arms[0], shared.arms[-1])
    theta = torch.linalg.lstsq(shared.arms[0], shared.means.T).solution
    assert theta.mean().abs() < 0.01
    torch.testing.assert_close(theta.var(), torch.tensor(1 / 3).double(), rtol=0.03, atol=0)
    own = linear_bandits(20_000, generator(), theta="uniform", arms="own", noise=1.5)
    assert not torch.equal(own.arms[0], own.arms[1])
    assert own.arms.min() > -1
    assert own.arms.max() < 1
    assert own.arms.min() < -0.99
    assert own.arms.max() > 0.99
    assert set(own.noise.tolist()) == {1.5}


def test_rewards_have_the_means_and_noise_of_their_arms():
    bandits = Bandits(torch.eye(2)[None], torch.tensor([[0.2, 0.9]]), torch.tensor([0.3]))
    many = bandits.map(lambda x: x.expand(50_000, *x.shape[1:]))
    luck = many.luck(1, generator())[:, 0]
    found = many.reward(torch.ones(50_000, dtype=torch.int64), luck)
    assert abs(found.mean() - 0.9) < 0.01
    assert abs(found.std() - 0.3) < 0.01
    won = Bandits(many.arms, many.means)
    found = won.reward(torch.zeros(50_000, dtype=torch.int64), won.luck(1, generator())[:, 0])
    assert set(found.tolist()) == {0.0, 1.0}
    assert abs(found.mean() - 0.2) < 0.01


def test_regret_counts_the_means():
    bandits = gaussian_bandits(3, generator())
    best = bandits.best
    assert not bandits.regret(best.unsqueeze(1).expand(-1, 4)).any()
    worst = bandits.means.argmin(-1, keepdim=True)
    spread = bandits.means.max(-1).values - bandits.means.min(-1).values
    torch.testing.assert_close(bandits.regret(worst)[:, 0], spread)


def test_the_posterior_is_that_of_ridge_regression():
    bandits = linear_bandits(4, generator(), actions=6, features=3, arms="own")
    known = LinearPosterior(bandits.arms, 0.25)
    rows, gains = [], []
    for seed in range(7):
        actions = torch.randint(6, (4,), generator=generator(seed))
        rewards = torch.randn(4, generator=generator(seed))
        known.add(actions, rewards)
        rows.append(bandits.arms[torch.arange(4), actions].double())
        gains.append(rewards.double())
    design, gain = torch.stack(rows, 1), torch.stack(gains, 1)
    precision = 0.25 * torch.eye(3).double() + design.mT @ design
    torch.testing.assert_close(known.inverse, torch.linalg.inv(precision))
    mean = torch.linalg.solve(precision, (design.mT @ gain.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(known.mean(), mean)
    first = bandits.arms[:, 0].double()
    width = torch.einsum("bk,bkl,bl->b", first, torch.linalg.inv(precision), first).sqrt()
    torch.testing.assert_close(known.width()[:, 0], width)


def test_draws_have_the_mean_and_covariance_of_the_posterior():
    known = LinearPosterior(linear_bandits(1, generator()).arms.expand(40_000, -1, -1), 0.5)
    known.add(torch.zeros(40_000, dtype=torch.int64), torch.ones(40_000))
    drawn = known.draw(torch.full((40_000,), 0.3), 1, generator())[:, 0]
    torch.testing.assert_close(drawn.mean(0), known.mean()[0], rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.T.cov(), 0.09 * known.inverse[0], rtol=0, atol=5e-3)


def test_regrets_of_linear_bandits_come_in_the_known_order():
    bandits = linear_bandits(200, generator())
    found = {
        name: regret(player, bandits)
        for name, player in {
            "thompson": LinearThompson(2**-0.5), "linucb": LinUCB(), "uniform": Uniform(),
        }.items()
    }  # fmt: skip
    assert found["thompson"] < 0.2 * found["uniform"]
    assert found["linucb"] < 0.2 * found["uniform"]


def test_regrets_of_bernoulli_bandits_come_in_the_known_order():
    bandits = bernoulli_bandits(200, generator())
    thompson, ucb = regret(BetaThompson(), bandits, 500), regret(UCB(), bandits, 500)
    greedy, uniform = regret(EmpiricalMean(), bandits, 500), regret(Uniform(), bandits, 500)
    assert max(thompson, ucb) < greedy < 0.5 * uniform


def test_thompson_sampling_of_bernoulli_arms_follows_the_posterior():
    player = BetaThompson()
    player.begin(bernoulli_bandits(40_000, generator(), actions=2), 5, generator())
    for arm, reward in ((0, 1.0), (0, 1.0), (0, 1.0), (1, 0.0)):
        player.learn(torch.full((40_000,), arm), torch.full((40_000,), reward))
    # P(x > y) for x ~ Beta(4, 1) and y ~ Beta(1, 2) is 1 - E y^4
    assert abs((player.choose() == 0).double().mean() - 14 / 15) < 0.006


def test_the_empirical_mean_tries_every_arm_once_and_stays_with_the_best():
    bandits = gaussian_bandits(5, generator(), actions=4, noise=1e-6)
    found = play(EmpiricalMean(), bandits, bandits.luck(7, generator()), generator())
    assert torch.equal(found.actions[:, :4], torch.arange(4).expand(5, -1))
    assert torch.equal(found.actions[:, 4:], bandits.best.unsqueeze(1).expand(-1, 3))


def test_skewed_players_prefer_some_arms():
    bandits = gaussian_bandits(4000, generator())
    found = play(Skewed(), bandits, bandits.luck(40, generator()), generator())
    share = torch.nn.functional.one_hot(found.actions, 5).double().mean(1)
    assert (share.mean(0) - 0.2).abs().max() < 0.02
    most = share.max(-1).values
    assert (most == 1).double().mean() > 0.08  # c = 1 for one in eleven
    assert (most < 0.5).double().mean() > 0.2


def test_the_same_luck_gives_the_same_game():
    bandits = linear_bandits(8, generator())
    luck = bandits.luck(9, generator())
    first, second = (play(LinearThompson(), bandits, luck, generator(3)) for _ in range(2))
    assert torch.equal(first.actions, second.actions)
    assert torch.equal(first.rewards, second.rewards)


@pytest.mark.fault
def test_thompson_sampling_without_noise_or_prior():
    bandits = bernoulli_bandits(2, generator())
    with pytest.raises(ValueError, match="have no Gaussian noise: take BetaThompson"):
        LinearThompson().begin(bandits, 3, generator())
    with pytest.raises(ValueError, match="prior is 0"):
        LinearThompson(0)
