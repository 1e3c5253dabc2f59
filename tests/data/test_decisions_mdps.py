"""Worlds with states: how they move, what is best in them, optimism that learns."""

from __future__ import annotations

import pytest
import torch

from surform.data.decisions_explorers import UCBVI, Optimal, RandomWalk, episode
from surform.data.decisions_mdp_setting import context
from surform.data.decisions_mdps import DarkRooms, dark_rooms, planned, tabular_mdps


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_dark_rooms_have_walls_and_a_goal():
    room = DarkRooms(torch.tensor([[0, 1]]), torch.tensor([[3, 5]]))
    state = room.begin(generator())
    for action, place, gained in (
        (1, 0, 0.0), (2, 1, 1.0), (4, 1, 1.0), (0, 4, 0.0), (3, 3, 0.0), (0, 6, 0.0), (0, 6, 0.0),
    ):  # fmt: skip
        state, reward = room.step(state, torch.tensor([action]), generator())
        assert (state.item(), reward.item()) == (place, gained)
    assert room.look(state, state).tolist() == [[2.0, 0.0]]


def test_the_best_policy_of_dark_rooms_earns_its_value():
    rooms = dark_rooms(60, generator(), size=6, steps=9)
    explorer = Optimal()
    explorer.begin(rooms, generator())
    found = episode(explorer, rooms, generator()).rewards.sum(1)
    torch.testing.assert_close(found, rooms.value())
    assert found.min() >= 0
    assert found.max() == 9


def test_goals_for_training_and_test_do_not_meet():
    parts = {
        name: {tuple(goal) for goal in dark_rooms(4000, generator(), goals=name).goal.tolist()}
        for name in ("train", "test", "all")
    }
    assert not parts["train"] & parts["test"]
    assert parts["train"] | parts["test"] == parts["all"]
    assert (len(parts["train"]), len(parts["test"])) == (80, 20)


def test_value_iteration_is_no_worse_than_any_policy():
    worlds = tabular_mdps(1, generator(), states=2, actions=2, steps=2)
    best = -1.0
    for code in range(16):  # every deterministic policy of two steps and states
        policy = torch.tensor([code >> bit & 1 for bit in range(4)]).reshape(2, 2)
        value = torch.zeros(2, dtype=torch.float64)
        for step in (1, 0):
            rows = torch.arange(2)
            value = (
                worlds.reward[0, rows, policy[step]]
                + worlds.transition[0, rows, policy[step]] @ value
            )
        best = max(best, value[0].item())
    assert worlds.value().item() == pytest.approx(best, rel=1e-6)
    again, values = planned(worlds.transition, worlds.reward, 2)
    assert torch.equal(again, worlds.policy)
    torch.testing.assert_close(values[:, 0], worlds.best_value)


def test_the_best_policy_of_tabular_mdps_earns_its_value_on_average():
    worlds = tabular_mdps(1, generator(3)).map(lambda x: x.expand(20_000, *x.shape[1:]))
    explorer = Optimal()
    explorer.begin(worlds, generator())
    found = episode(explorer, worlds, generator()).rewards.sum(1)
    error = found.std() / 20_000**0.5
    assert abs(found.mean() - worlds.value()[0]) < 4 * error


def test_ucb_vi_comes_close_to_the_best_policy():
    worlds = tabular_mdps(60, generator(1))
    earned = {}
    for one, episodes in ((UCBVI(), 250), (RandomWalk(), 40)):
        one.begin(worlds, generator())
        luck = generator(2)
        found = [episode(one, worlds, luck).rewards.sum(1).mean() for _ in range(episodes)]
        earned[type(one)] = torch.stack(found)
    best, random = worlds.value().mean(), earned[RandomWalk].mean()
    late = earned[UCBVI][-30:].mean()
    assert late > random + 0.85 * (best - random)
    assert late > earned[UCBVI][:10].mean() > random


def test_contexts_are_episodes_or_from_anywhere():
    rooms = dark_rooms(5, generator(), size=4, steps=6)
    seen = context(RandomWalk(), rooms, 8, generator())
    assert seen.states.shape == (5, 8)
    assert not seen.states[:, [0, 6]].any()
    assert torch.equal(seen.states[:, 1:6], seen.next_states[:, :5])
    assert seen.steps[0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    from surform.data.decisions_explorers import Anywhere

    seen = context(Anywhere(), dark_rooms(200, generator(), size=4), 8, generator())
    assert set(seen.states.flatten().tolist()) == set(range(16))


@pytest.mark.fault
def test_bonuses_are_not_negative():
    with pytest.raises(ValueError, match="scale is -1"):
        UCBVI(-1)
