from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from surform.robotics.execution import OpenLoop, TemporalEnsemble


class Counting:
    """The k-th chunk is k, k + 0.1, k + 0.2, ... for each of two episodes."""

    def __init__(self, chunk=4):
        self.chunk, self.chunks = chunk, 0

    def observe(self, observation, memory):
        return [*memory, f"observe {observation}"]

    def act(self, observation, memory):
        chunk = self.chunks + 0.1 * torch.arange(self.chunk)
        self.chunks += 1
        return chunk[None, :, None].expand(2, -1, 1), [*memory, f"act {observation}"]


def said(how, steps, **options):
    policy, memory, actions = Counting(**options), [], []
    how.begin()
    for step in range(steps):
        action, memory = how.act(policy, step, memory)
        assert action.shape == (2, 1)
        actions.append(float(action[0, 0]))
    return actions, memory


def test_open_loop_does_the_first_actions_and_shows_the_policy_every_step():
    actions, memory = said(OpenLoop(3), 7)
    assert actions == pytest.approx([0, 0.1, 0.2, 1, 1.1, 1.2, 2])
    assert memory[:4] == ["act 0", "observe 1", "observe 2", "act 3"]


def test_open_loop_does_half_of_a_chunk_if_nothing_else_is_said():
    assert said(OpenLoop(), 5, chunk=5)[0] == pytest.approx([0, 0.1, 0.2, 1, 1.1])


def test_the_ensemble_averages_what_all_chunks_say_of_a_step():
    actions, memory = said(TemporalEnsemble(0.5), 5, chunk=3)
    # step 4: the chunks of the steps 2, 3 and 4 speak, the oldest loudest
    weights = np.array([1, math.exp(-0.5), math.exp(-1.0)])
    assert actions[4] == pytest.approx(float(weights @ [2.2, 3.1, 4.0] / weights.sum()))
    assert actions[0] == 0
    assert all(word.startswith("act") for word in memory)


def test_a_new_batch_forgets_the_one_before():
    for how in (OpenLoop(3), TemporalEnsemble()):
        said(how, 2)
        assert said(how, 1)[0] == [0]


@pytest.mark.fault
def test_what_cannot_be():
    with pytest.raises(ValueError, match="execute is 0"):
        OpenLoop(0)
    with pytest.raises(ValueError, match="decay of the ensemble is -1"):
        TemporalEnsemble(-1)
    with pytest.raises(ValueError, match="execute is 5, but the policy's chunks have 4"):
        said(OpenLoop(5), 1)


@pytest.mark.fault
def test_actions_that_are_no_chunks():
    class Flat(Counting):
        def act(self, observation, memory):
            return torch.zeros(2, 3), memory

    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        OpenLoop(1).act(Flat(), 0, [])
