from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from surform.data.environments.point_reach import PointReach


def run(environment: PointReach, seed: int) -> tuple[int, bool]:
    observation, info = environment.reset(seed=seed)
    expert, steps = environment.expert(), 0
    late = False
    while not (info["success"] or late):
        observation, _, ended, late, info = environment.step(expert(observation))
        assert not ended
        steps += 1
    return steps, info["success"]


@pytest.mark.parametrize("task", PointReach.TASKS)
def test_the_expert_reaches_the_disc_of_the_task(task):
    environment = PointReach(task)
    for seed in range(30):
        steps, success = run(environment, seed)
        assert success
        assert steps < 20


def test_an_episode_is_a_function_of_its_seed():
    one, other = PointReach(image_size=32), PointReach(image_size=32)
    one.reset(seed=5)
    one.step(np.ones(2))
    first, second = one.reset(seed=3)[0], other.reset(seed=3)[0]
    assert all((first[name] == second[name]).all() for name in ("state", "image"))
    assert (one.reset(seed=4)[0]["state"] != second["state"]).any()


def test_observations_are_in_their_spaces():
    environment = PointReach("blue", image_size=48)
    generator = np.random.default_rng(0)
    seen = [environment.reset(seed=1)[0]]
    seen += [environment.step(environment.action_space.sample(generator))[0] for _ in range(20)]
    assert all(environment.observation_space.contains(each) for each in seen)
    assert not environment.observation_space.contains({"state": seen[0]["state"]})


def test_the_picture_shows_the_discs_where_they_are():
    environment = PointReach("green", image_size=64)
    seen, _ = environment.reset(seed=2)
    x, y = seen["state"][4:6]
    row, column = int((1 - y) / 2 * 64), int((x + 1) / 2 * 64)
    assert seen["image"][row, column].tolist() == [60, 150, 80]
    assert environment.render().shape == (256, 256, 3)


def test_an_episode_without_success_is_cut_after_fifty_steps():
    environment = PointReach()
    environment.reset(seed=0)
    found = [environment.step(np.zeros(2)) for _ in range(50)]
    assert [late for _, _, _, late, _ in found] == [False] * 49 + [True]
    assert not found[-1][4]["success"]


@pytest.mark.fault
def test_what_cannot_be():
    with pytest.raises(ValueError, match="no task 'rde': did you mean 'red'"):
        PointReach("rde")
    with pytest.raises(ValueError, match="image_size is 8"):
        PointReach(image_size=8)


def test_processes_of_environments_start_without_torch():
    code = "import sys, surform.data.environments.worker; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
