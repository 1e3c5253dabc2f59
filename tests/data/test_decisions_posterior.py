"""Probabilities of the best arm: against integration, and against how often arms are the best."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surform.data.decisions_bandits import bernoulli_bandits, linear_bandits
from surform.data.decisions_module import DecisionsData
from surform.data.decisions_players import Rounds
from surform.data.decisions_posterior import beliefs, shares
from surform.data.decisions_thompson import BetaThompson, LinearThompson

LINEAR = {"name": "linear_bandit", "actions": 4, "noise": 0.5}
BERNOULLI = {"name": "bernoulli_bandit", "actions": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def data(**given):
    options = {"rounds": 5, "environments": 24, "validation": 7, "test": 9, "batch_size": 8}
    return DecisionsData(**{"worlds": LINEAR, "labels": "posterior"} | options | given)


def on_a_grid(bandits, seen, width):
    """(n + 1, A): the posterior of bandit 0, by summing prior and likelihood over theta."""
    axis = torch.linspace(-5, 5, 1001, dtype=torch.float64) * width
    theta = torch.cartesian_prod(axis, axis)
    means = theta @ bandits.arms[0].double().T
    best = F.one_hot(means.argmax(-1), means.shape[1]).double()
    weight = -theta.square().sum(-1) / (2 * width**2)
    found = [weight.softmax(0) @ best]
    for arm, reward in zip(seen.actions[0], seen.rewards[0], strict=True):
        weight = weight - (reward - means[:, arm]).square() / (2 * bandits.noise[0] ** 2)
        found.append(weight.softmax(0) @ best)
    return torch.stack(found)


def test_chances_in_linear_bandits_are_those_of_integration():
    bandits = linear_bandits(1, generator(3), actions=5, noise=0.4, arms="own")
    actions = torch.tensor([[0, 3, 3, 1]])
    seen = Rounds(actions, bandits.means.gather(1, actions) + 0.3)
    found = beliefs(LinearThompson(2**-0.5), bandits, seen, 100_000, generator())[0]
    torch.testing.assert_close(found, on_a_grid(bandits, seen, 2**-0.5), rtol=0, atol=0.006)


def test_chances_of_bernoulli_arms_are_those_of_integration():
    bandits = bernoulli_bandits(1, generator(), actions=3)
    seen = Rounds(torch.tensor([[0, 0, 2, 1]]), torch.tensor([[1.0, 1.0, 0.0, 1.0]]))
    found = beliefs(BetaThompson(), bandits, seen, 100_000, generator())[0]
    counts = torch.tensor([[3, 1], [2, 1], [1, 2]], dtype=torch.float64)
    x = torch.linspace(0, 1, 4001, dtype=torch.float64)
    density = torch.distributions.Beta(*counts.T.unsqueeze(-1), validate_args=False)
    weight = density.log_prob(x.clamp(1e-9, 1 - 1e-9)).exp() / 4000
    below = torch.cumsum(weight, 1) - weight / 2
    for arm in range(3):
        others = torch.cat((below[:arm], below[arm + 1 :])).prod(0)
        assert abs(found[-1, arm] - (weight[arm] * others).sum()) < 0.006
    torch.testing.assert_close(found[0], torch.full((3,), 1 / 3).double(), rtol=0, atol=0.006)


def test_shares_of_choices():
    found = shares(torch.tensor([[0, 2, 2, 2], [1, 1, 1, 1]]), 3)
    assert found.tolist() == [[0.25, 0, 0.75], [0, 1, 0]]


def test_chances_are_how_often_an_arm_is_the_best_after_the_same_history():
    """Bernoulli bandits after two rounds have sixteen histories: each is a group of its own."""
    count = 20_000
    source = data(worlds=BERNOULLI, rounds=2, test=count, draws=8)
    batch = source.samples("test")[list(range(count))]
    history = (batch.actions * 2 + batch.rewards.long()) @ torch.tensor([4, 1])
    best = F.one_hot(batch.optimal, 2).float()
    for one in range(16):
        rows = history == one
        error = (best[rows] - batch.chances[rows, 2])[:, 0]
        assert rows.sum() > 500
        assert abs(error.mean()) < 4 * error.std() / rows.sum() ** 0.5


def test_chances_are_how_often_an_arm_is_the_best_after_alike_histories():
    """Linear bandits: groups by the first arm and the sign of its reward, and by the last."""
    count = 20_000
    source = data(test=count, collector={"thompson": 1, "skewed": 1}, draws=8)
    batch = source.samples("test")[list(range(count))]
    best = F.one_hot(batch.optimal, 4).double()
    for seen, rounds in ((0, 1), (0, 5), (4, 5)):
        error = best - batch.chances[:, rounds].double()
        group = batch.actions[:, seen] * 2 + (batch.rewards[:, seen] > 0)
        for one in range(8):
            rows = error[group == one]
            assert len(rows) > 500
            assert (rows.mean(0).abs() < 4 * rows.std(0) / len(rows) ** 0.5).all()


def test_labels_leave_the_worlds_as_they_are():
    said, plain = data(draws=4), data(labels="optimal")
    one, other = said.samples("train")[[3, 4]], plain.samples("train")[[3, 4]]
    assert torch.equal(one.rewards, other.rewards)
    assert torch.equal(one.optimal, other.optimal)
    assert other.chances is None
    assert one.chances.shape == (2, 6, 4)
    assert one.chances.dtype == torch.float32
    torch.testing.assert_close(one.chances.sum(-1), torch.ones(2, 6))
    assert torch.equal(one.chances * 4, (one.chances * 4).round())
    assert torch.equal(said.samples("train")[[4]].chances[0], one.chances[1])


def test_the_prior_of_thompson_sampling_does_not_change_the_labels():
    batches = [data(worlds=LINEAR | prior, collector="uniform").samples("test")[[0, 1]]
               for prior in ({}, {"prior": 5.0})]  # fmt: skip
    assert torch.equal(batches[0].chances, batches[1].chances)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": "best"}, "labels is 'best': choose optimal, posterior"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"worlds": LINEAR | {"theta": "uniform"}}, "labels is 'posterior', which is known for"),
        ({"worlds": {"name": "gaussian_bandit"}}, "not for {'name': 'gaussian_bandit'}"),
        ({"worlds": {"name": "dark_room"}, "collector": "anywhere"}, "dark_room'}: take labels"),
    ],
)
def test_labels_that_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        data(**given)
