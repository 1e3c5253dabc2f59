from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from surform.data.demonstrations_description import DemonstrationsDescription
from surform.robotics import evaluate
from surform.robotics.observing import instruction_of, trained_options
from tests.robotics.reaching import Reaching


def described(**options):
    policy = Reaching()
    policy.description = DemonstrationsDescription(  # pyright: ignore[reportAttributeAccessIssue]
        observations={"state": 8}, action_dim=2, history=1, chunk=4, **options
    )
    return policy


def test_an_environment_is_opened_as_for_the_demonstrations():
    made = {"env_name": "point-reach", "env_kwargs": {"image_size": 24}}
    policy = described(cameras={"image": [24, 24, 3]}, environment=made, language="text")
    assert trained_options(policy, "point-reach") == {"image_size": 24}
    assert trained_options(policy, "pusht") == {}
    found = evaluate(policy, "point-reach", tasks=["red"], episodes=1)
    assert found.settings["options"] == {"image_size": 24}
    assert found.success_rate == 1
    found = evaluate(policy, "point-reach", tasks=["red"], episodes=1, options={"image_size": 32})
    assert found.settings["options"] == {"image_size": 32}


def test_images_come_as_the_environment_gives_them():
    shapes = []

    class Seeing(Reaching):
        def act(self, observation, memory):
            shapes.append((observation["image"].shape, observation["image"].dtype))
            return super().act(observation, memory)

    evaluate(Seeing(), "point-reach", tasks=["red"], episodes=2, options={"image_size": 20})
    assert set(shapes) == {((2, 20, 20, 3), torch.uint8)}


def test_a_policy_that_was_told_names_of_tasks_is_told_them():
    policy = SimpleNamespace(description=SimpleNamespace(tasks=("reach-v3", "open the door")))
    assert instruction_of(policy, "reach-v3", "reach the goal position") == "reach-v3"
    assert instruction_of(policy, "door-open-v3", "open the door") == "open the door"
    assert instruction_of(policy, "push-v3", "push the puck") == "push the puck"
    assert instruction_of(Reaching(), "red", "go to the red disc") == "go to the red disc"


@pytest.mark.fault
def test_a_policy_that_is_told_nothing():
    from tests.data.environments.strange import STRANGE

    with pytest.raises(ValueError, match=r"is told what to do, but .* says nothing"):
        evaluate(described(language="text"), f"{STRANGE}:Quiet", tasks=["red"], episodes=1)


@pytest.mark.fault
def test_an_action_of_another_size():
    policy = described()
    policy.description = DemonstrationsDescription({"state": 8}, 3, 1, 4)
    with pytest.raises(ValueError, match=r"gives actions of 3 numbers, but point-reach \(red\)"):
        evaluate(policy, "point-reach", tasks=["red"], episodes=1)
