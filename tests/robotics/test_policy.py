from __future__ import annotations

import pytest
import torch
from torch import nn

from surform.data.normalizers import Normalizer
from surform.robotics.policy import Policy


class Upwards(nn.Module):
    """Counts its steps; moves as far as it has counted."""

    def start(self, batch):
        return torch.zeros(batch, 1, 2)

    def act(self, observation, memory):
        return observation["pull"][:, None] + memory, memory + 1


def policy():
    model = Policy(Upwards())
    model.action.fit(torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]))
    return model


def test_actions_come_in_the_units_of_the_robot():
    model = policy()
    memory, seen = model.start(1), {"pull": torch.tensor([[0.5, 0.5]])}
    first, memory = model.act(seen, memory)
    second, memory = model.act(seen, memory)
    assert first.tolist() == [[[6.0, 12.0]]]
    assert second.tolist() == [[[16.0, 32.0]]]


@pytest.mark.fault
def test_a_policy_without_statistics_does_not_act():
    model = Policy(Upwards())
    with pytest.raises(ValueError, match="no statistics"):
        model.act({"pull": torch.zeros(1, 2)}, model.start(1))


@pytest.mark.fault
def test_statistics_of_something_else():
    model = policy()
    model.action = Normalizer(torch.zeros(3, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"have shape \(3, 2\)"):
        model.check_statistics()
