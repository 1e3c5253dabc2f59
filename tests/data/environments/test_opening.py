from __future__ import annotations

import numpy as np
import pytest

from surform.data.environments.metaworld import MT10
from surform.data.environments.opening import EnvironmentSource, open_environment, tasks_of
from surform.data.environments.seen import facts_of, named
from tests.data.environments.strange import STRANGE


def test_a_class_of_ones_own_is_opened_with_its_arguments():
    environment = open_environment(EnvironmentSource(f"{STRANGE}:Vector", None, {"length": 2}))
    assert environment.length == 2
    facts = facts_of(environment)
    assert facts.action_size == 1
    assert dict(facts.observations) == {"state": ((3,), "float32")}
    assert not facts.renders


def test_a_single_array_is_the_state_or_the_image():
    assert named(np.zeros(3))["state"].dtype == np.float32
    assert list(named(np.zeros((4, 4, 3), np.uint8))) == ["image"]


def test_ids_of_gymnasium():
    pytest.importorskip("gymnasium", reason="surform[robotics] is not installed")
    environment = open_environment(EnvironmentSource("Pendulum-v1", films=False))
    facts = facts_of(environment)
    assert facts.observations["state"][0] == (3,)
    assert facts.low.tolist() == [-2.0]
    environment.close()


def test_tasks():
    assert tasks_of("point-reach", None) == ["red", "green", "blue"]
    assert tasks_of("point-reach", ["red,blue"]) == ["red", "blue"]
    assert tasks_of("metaworld", ["mt10"]) == list(MT10)
    assert tasks_of("Pendulum-v1", None) == [None]


@pytest.mark.fault
def test_an_unknown_environment():
    with pytest.raises((ValueError, ImportError), match="'pointreach': did you mean 'point-reach'"):
        open_environment(EnvironmentSource("pointreach"))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no_such_module:Arm", "there is no module 'no_such_module'"),
        (f"{STRANGE}:Arm", "has no 'Arm'"),
    ],
)
def test_a_class_that_is_not_there(name, text):
    with pytest.raises(ValueError, match=text):
        open_environment(EnvironmentSource(name))


@pytest.mark.fault
def test_arguments_that_an_environment_does_not_take():
    with pytest.raises(ValueError, match=r"point-reach \(red\) cannot be opened so: .*'colour'"):
        open_environment(EnvironmentSource("point-reach", "red", {"colour": 3}))


@pytest.mark.fault
def test_tasks_that_cannot_be():
    with pytest.raises(ValueError, match="metaworld has fifty tasks: name some"):
        tasks_of("metaworld", None)
    with pytest.raises(ValueError, match="named twice"):
        tasks_of("point-reach", ["red", "red"])
