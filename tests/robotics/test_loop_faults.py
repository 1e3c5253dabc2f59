"""What goes wrong between a policy and its environment is one sentence."""

from __future__ import annotations

import math

import pytest
import torch

from surform.robotics import evaluate
from tests.data.environments.strange import STRANGE
from tests.robotics.reaching import Reaching

pytestmark = pytest.mark.fault


def refused(text, policy=None, env="point-reach", error=ValueError, **options):
    given = {"tasks": ["red"], "episodes": 2} | options
    with pytest.raises(error, match=text):
        evaluate(policy or Reaching(), env, **given)


class Saying(Reaching):
    """Gives the same action always."""

    def __init__(self, *action):
        super().__init__()
        self.action = torch.tensor(action)

    def act(self, observation, memory):
        return self.action.expand(len(observation["state"]), 2, -1), memory


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_actions_that_are_not_finite(value):
    text = rf"gives {value} in the action of step 1, point-reach \(red\), seed 0"
    refused(text, Saying(0.0, value))


def test_actions_of_another_size():
    refused(
        r"actions of 3 numbers for 2 episodes, but point-reach \(red\) takes 2", Saying(0.0, 0, 0)
    )


def test_actions_of_another_batch():
    class Alone(Reaching):
        def act(self, observation, memory):
            return torch.zeros(1, 2, 2), memory

    refused("for 1 episodes, but .* and 2 run", Alone())


def test_settings_that_cannot_be():
    refused("execute and ensemble exclude each other", execute=1, ensemble=0.1)
    refused("episodes is 0", episodes=0)
    refused("steps is 0", steps=0)
    refused("films need a folder", films=1)
    refused("workers is 0", workers=0)
    refused("execute is 9, but the policy's chunks have 4", execute=9)


def test_an_unknown_task_or_environment():
    refused("no task 'pink'", tasks=["pink"])
    refused("did you mean 'point-reach'", env="point-rech", error=(ValueError, ImportError))


def test_an_environment_that_raises():
    refused("episode of seed 0, step 2: RuntimeError: the gripper broke", env=f"{STRANGE}:Raising")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("OldStep", r"step\(\) must return \(observation, reward, .*, but returns 4 values"),
        ("OldReset", r"reset\(\) must return \(observation, info\), .*, but returns dict"),
        ("Rewarding", r"the reward must be one number, but has the shape \(2,\)"),
    ],
)
def test_an_environment_that_answers_otherwise_than_gymnasiums(kind, text):
    refused(text, env=f"{STRANGE}:{kind}", episodes=1)


def test_an_environment_whose_process_hangs():
    options = {"way": "hangs", "at": 2}
    refused("did not answer within 0.6 s, 3 times: given up", env=f"{STRANGE}:Dying", timeout=0.3,
            options=options)  # fmt: skip


def test_a_film_of_what_cannot_be_seen(tmp_path):
    refused("renders no pictures", env=f"{STRANGE}:Unseen", tasks=[], films=1, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_films_of_an_episode_that_fails_are_not_left(tmp_path):
    refused("the gripper broke", env=f"{STRANGE}:Raising", films=1, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_episodes_that_show_different_things():
    from surform.robotics.observing import stacked

    one, other = {"state": torch.zeros(2).numpy()}, {"state": torch.zeros(3).numpy()}
    with pytest.raises(ValueError, match=r"one shows state \(2,\), another state \(3,\)"):
        stacked(Reaching(), [one, other], ["a", "b"])
