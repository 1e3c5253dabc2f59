from __future__ import annotations

import ctypes.util

import numpy as np
import pytest

pytest.importorskip(
    "metaworld", reason="surform[simulators] is not installed", exc_type=ImportError
)

from surform.data.environments.crew import Crew, Start
from surform.data.environments.metaworld import MT10
from surform.data.environments.opening import EnvironmentSource

DRAWS = any(ctypes.util.find_library(name) for name in ("EGL", "OSMesa"))


def first_states(crew: Crew, task: str, seeds) -> np.ndarray:
    moments = crew.begin([Start(EnvironmentSource("metaworld", task), seed) for seed in seeds])
    return np.stack([moment.observation["state"] for moment in moments])


def test_an_episode_is_a_function_of_its_seed_and_shows_its_goal():
    with Crew(1) as crew:
        one = first_states(crew, "push-v3", [1, 2])
        crew.step({row: np.ones(4) for row in range(2)})
        again = first_states(crew, "push-v3", [1, 2])
    assert one.shape == (2, 39)
    assert (one == again).all()
    assert (one[0] != one[1]).any()
    assert (one[:, 36:] != 0).all()
    assert (one[0, 36:] != one[1, 36:]).any()


@pytest.mark.slow
def test_all_ten_tasks_open():
    with Crew(1) as crew:
        starts = [Start(EnvironmentSource("metaworld", task), 3) for task in MT10]
        moments = crew.begin(starts)
        assert all(facts.action_size == 4 and facts.instruction for facts in crew.rows)
        assert all(facts.fps == 80 for facts in crew.rows)
    # pushing and lifting the puck begin alike
    assert len({moment.observation["state"].tobytes() for moment in moments}) == 9


@pytest.mark.skipif(not DRAWS, reason="there is no OpenGL without a display")
def test_pictures_are_upright_and_of_the_size_that_is_asked_for():
    seen = EnvironmentSource("metaworld", "reach-v3", {"image_size": 96})
    with Crew(1, timeout=120) as crew:
        picture = crew.begin([Start(seen, 0)])[0].observation["image"]
    assert picture.shape == (96, 96, 3)
    assert picture.dtype == np.uint8
    # the arm is red, and stands to the left and above the middle
    red = (picture[..., 0] > 120) & (picture[..., 1] < 60)
    rows, columns = np.nonzero(red)
    assert len(rows) > 100
    assert rows.mean() < 55
    assert columns.mean() < 48


@pytest.mark.skipif(not DRAWS, reason="there is no OpenGL without a display")
def test_an_episode_from_states_can_be_filmed():
    source = EnvironmentSource("metaworld", "reach-v3", films=True)
    with Crew(1, timeout=120) as crew:
        moment = crew.begin([Start(source, 0, filmed=True)])[0]
        assert crew.rows[0].renders
    assert list(moment.observation) == ["state"]
    assert moment.picture is not None
    assert moment.picture.shape == (240, 240, 3)


@pytest.mark.fault
def test_what_meta_world_does_not_have():
    with Crew(1) as crew:

        def refused(text, task="reach-v3", **options):
            with pytest.raises(ValueError, match=text):
                crew.facts(EnvironmentSource("metaworld", task, options))

        refused("no task 'reach-v9': did you mean 'reach-v3'", "reach-v9")
        refused("no camera 'corner9': did you mean 'corner'", camera="corner9")
        refused("image_size is 4000", image_size=4000)
