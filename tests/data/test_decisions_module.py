"""Worlds made while training: the same whatever the batches, new in every epoch; faults."""

from __future__ import annotations

import pytest
import torch

from surform.data.decisions_description import DecisionsDescription
from surform.data.decisions_module import DecisionsData
from surform.data.decisions_samples import BLOCK, FreshOrder, WorldSamples
from surform.data.decisions_settings import make_setting, setting_names

WORLDS = {"name": "linear_bandit", "actions": 4}


def data(**given):
    options = {"rounds": 5, "environments": 24, "validation": 7, "test": 9, "batch_size": 8}
    return DecisionsData(**{"worlds": WORLDS} | options | given)


def samples(count=24, split="train", seed=0, **given):
    setting = make_setting(given.get("worlds", WORLDS))
    return WorldSamples(setting, given.get("collector", {"thompson": 1}), 5, count, split, seed)


def test_worlds_do_not_depend_on_the_batches():
    whole = samples()[list(range(24))]
    parts = [samples()[[k]] for k in range(24)]
    assert torch.equal(torch.cat([p.rewards for p in parts]), whole.rewards)
    assert torch.equal(torch.cat([p.world.means for p in parts]), whole.world.means)
    across = samples(2 * BLOCK)[[BLOCK - 1, BLOCK]]
    assert torch.equal(across.rewards[:1], samples(2 * BLOCK)[[BLOCK - 1]].rewards)
    assert torch.equal(across.world.means[1:], samples(2 * BLOCK)[[BLOCK]].world.means)


def test_seeds_splits_and_epochs_have_worlds_of_their_own():
    first = samples()[list(range(24))].rewards
    assert not torch.equal(first, samples(seed=1)[list(range(24))].rewards)
    assert not torch.equal(first, samples(split="test")[list(range(24))].rewards)
    source = data()
    loader = source.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    assert [len(batch) for batch in epochs[0]] == [8, 8, 8]
    assert not torch.equal(epochs[0][0].rewards, epochs[1][0].rewards)
    assert epochs[1][0].index.tolist() == list(range(8))


def test_a_run_is_taken_up_in_the_middle():
    loader = data().train_dataloader()
    loader.sampler.set_epoch(1)
    expected = [batch.rewards for batch in loader]
    again = data()
    again.resume_at(1, 2)
    loader = again.train_dataloader()
    found = [batch.rewards for batch in loader]
    assert len(found) == 1
    assert torch.equal(found[0], expected[2])


def test_short_contexts_come_in_turn_with_as_many_more_worlds():
    source = data(rounds=12, lengths=[12, 4], environments=70, batch_size=8)
    loader = source.train_dataloader()
    batches = list(loader)
    assert [batch.rewards.shape for batch in batches] == [(8, 12), (24, 4)] * 2
    assert [batch.states.shape[1] for batch in batches] == [12, 4] * 2
    means = torch.cat([batch.world.means for batch in batches])
    assert len(means.unique(dim=0)) == 64  # each world once
    loader.sampler.set_epoch(1)
    later = list(loader)
    assert not torch.isin(later[1].rewards, torch.cat([b.rewards for b in batches[1::2]])).any()
    again = data(rounds=12, lengths=[12, 4], environments=70, batch_size=8)
    again.resume_at(1, 3)
    (last,) = again.train_dataloader()
    assert torch.equal(last.rewards, later[3].rewards)


def test_processes_share_the_worlds():
    given = {"lengths": [6, 3], "rounds": 6}
    alone = list(FreshOrder(60, 8, training=True, **given).batches(1))
    parts = [
        list(FreshOrder(60, 4, training=True, rank=r, ranks=2, **given).batches(1)) for r in (0, 1)
    ]
    assert len(alone) == len(parts[0]) == 4
    for whole, first, second in zip(alone, *parts, strict=True):
        assert first + second == whole


@pytest.mark.parametrize("name", setting_names())
def test_every_kind_of_world_gives_a_batch(name):
    setting = make_setting({"name": name})
    for collector in setting.collectors:
        batch = data(worlds={"name": name}, collector=collector).samples("validation")[[0, 3, 5]]
        assert batch.actions.shape == batch.rewards.shape == (3, 5)
        assert batch.states.shape == batch.next_states.shape == (3, 5, setting.state_dim)
        assert batch.query.shape == (3, setting.state_dim)
        assert batch.optimal.shape == (3,)
        assert int(batch.actions.max()) < setting.actions
        assert len(batch.world) == len(batch) == 3
        assert batch.rewards.dtype == torch.float32


def test_optimal_actions_are_those_of_the_worlds():
    batch = data(collector="uniform").samples("test")[list(range(9))]
    assert torch.equal(batch.optimal, batch.world.means.argmax(-1))
    rooms = data(worlds={"name": "dark_room"}, collector="anywhere").samples("test")[[0, 1, 2]]
    place = rooms.query.long()
    assert torch.equal(
        rooms.world.best(place[:, 0] * 10 + place[:, 1], place[:, 0] * 0), rooms.optimal
    )


def test_collectors_share_the_worlds():
    shares = {"uniform": 3, "thompson": 1}
    seen = samples(BLOCK, collector=shares)[list(range(BLOCK))]
    only = samples(BLOCK, collector={"thompson": 1})[list(range(BLOCK))]
    assert torch.equal(seen.world.means, only.world.means)
    good = (seen.actions[:, 3:] == seen.optimal.unsqueeze(1)).float().mean()
    better = (only.actions[:, 3:] == only.optimal.unsqueeze(1)).float().mean()
    assert 0.25 < good < better


def test_the_description_goes_into_json_and_back():
    about = data(collector={"thompson": 2, "uniform": 1}).description()
    assert DecisionsDescription.from_dict(about.to_dict()) == about
    assert about.sizes() == {"actions": 4, "state_dim": 1, "features": 2}
    assert about.table()["collected by"] == "thompson 2, uniform 1"
    assert data(seed=1).description().source != data().description().source


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"worlds": {"name": "linear_bandits"}}, "did you mean 'linear_bandit'?"),
        ({"worlds": {"actions": 3}}, "worlds need a name"),
        ({"worlds": WORLDS | {"arm": 3}}, "linear_bandit has no option 'arm'"),
        ({"worlds": WORLDS | {"actions": 1}}, "actions is 1"),
        ({"worlds": WORLDS | {"noise": 0}}, "noise is 0, but must be a positive number"),
        ({"worlds": WORLDS | {"theta": "cauchy"}}, "theta is 'cauchy': choose normal, uniform"),
        ({"worlds": {"name": "dark_room", "goals": "some"}}, "goals is 'some'"),
        ({"collector": "thomson"}, "collector 'thomson' does not play linear_bandit: choose"),
        ({"collector": {"uniform": 0}}, "uniform has the share 0"),
        ({"collector": {}}, "collector is empty"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"lengths": [5, 6]}, "lengths is .5, 6., but must be numbers from 1 to rounds = 5"),
        ({"lengths": []}, "lengths is"),
        ({"test": 0}, "test must be at least 1"),
        ({"episodes": 0}, "episodes must be at least 1"),
    ],
)
def test_worlds_that_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        data(**given)


@pytest.mark.fault
def test_worlds_of_another_kind_than_trained_in():
    trained = data().description()
    with pytest.raises(ValueError, match="worlds with actions 4, data"):
        data(worlds={"name": "linear_bandit", "actions": 6}).check(trained)
    with pytest.raises(ValueError, match="with name linear_bandit, data"):
        data(worlds={"name": "bernoulli_bandit"}, collector="uniform").check(trained)


@pytest.mark.fault
def test_splits_that_there_are_not():
    with pytest.raises(ValueError, match="there are no validation worlds: there are train, test"):
        data(validation=0).samples("validation")
