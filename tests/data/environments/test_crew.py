from __future__ import annotations

import time

import numpy as np
import pytest

from surform.data.environments.crew import Crew, Start
from surform.data.environments.opening import EnvironmentSource
from tests.data.environments.strange import STRANGE

REACH = EnvironmentSource("point-reach", "red")


def course(crew: Crew, sources, steps: int = 6) -> list[np.ndarray]:
    """States of all rows, step after step."""
    moments = crew.begin([Start(source, 10 + row) for row, source in enumerate(sources)])
    seen = [np.stack([moment.observation["state"] for moment in moments])]
    for step in range(steps):
        actions = {row: np.array([0.5, -0.1 * step]) for row in range(len(sources))}
        found = crew.step(actions)
        seen.append(np.stack([found[row].observation["state"] for row in range(len(sources))]))
    return seen


@pytest.fixture(scope="module")
def expected():
    with Crew(1) as crew:
        return course(crew, [REACH] * 3)


def same(one, other) -> bool:
    return all((a == b).all() for a, b in zip(one, other, strict=True))


def test_results_do_not_depend_on_the_number_of_processes(expected):
    with Crew(3) as crew:
        assert same(course(crew, [REACH] * 3), expected)


@pytest.mark.fault
@pytest.mark.parametrize("way", ["killed", "left", "hangs"])
@pytest.mark.parametrize("at", [0, 4])
def test_a_process_that_fails_once_is_replaced_and_nothing_else_changes(
    way, at, tmp_path, expected
):
    options = {"way": way, "at": at, "mark": str(tmp_path / "done")}
    dying = EnvironmentSource(f"{STRANGE}:Dying", "red", options)
    with Crew(2, timeout=2.0) as crew:
        found = course(crew, [REACH, dying, REACH])
        assert crew.restarts == {0: 0, 1: 1, 2: 0}
    assert same(found, expected)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("way", "what"),
    [("killed", "was ended by SIGKILL"), ("left", "ended with code 3"),
     ("hangs", "did not answer within 0.3 s")],
)  # fmt: skip
def test_a_process_that_fails_again_and_again_is_given_up(way, what):
    dying = EnvironmentSource(f"{STRANGE}:Dying", "red", {"way": way, "at": 2})
    begun = time.monotonic()
    with Crew(1, timeout=0.3) as crew, pytest.raises(ValueError, match=f"{what}.*3 times") as met:
        course(crew, [dying])
    assert "seed 10, step 2" in str(met.value)
    assert time.monotonic() - begun < 15


@pytest.mark.fault
def test_an_error_of_an_environment_says_where():
    broken = EnvironmentSource(f"{STRANGE}:Raising", "green", {"at": 2})
    with Crew(2) as crew:
        text = r"Raising \(green\), episode of seed 11, step 2: RuntimeError: the gripper broke"
        with pytest.raises(ValueError, match=text) as met:
            course(crew, [REACH, broken])
    assert "Traceback" in met.value.__notes__[0]


@pytest.mark.fault
def test_an_error_of_a_reset_says_where():
    broken = EnvironmentSource(f"{STRANGE}:Raising", "red", {"at": 0})
    text = "seed 10, at its start: RuntimeError: the arm is not there"
    with Crew(1) as crew, pytest.raises(ValueError, match=text):
        course(crew, [broken])


@pytest.mark.fault
def test_observations_that_are_not_finite():
    source = EnvironmentSource(f"{STRANGE}:Unfinite", "red")
    with Crew(1) as crew, pytest.raises(ValueError, match="'state' is not finite"):
        course(crew, [source])


@pytest.mark.fault
def test_actions_that_are_no_vectors():
    with Crew(1) as crew, pytest.raises(ValueError, match="actions must be vectors of numbers"):
        crew.facts(EnvironmentSource(f"{STRANGE}:Buttons", "red"))


@pytest.mark.fault
def test_a_film_of_pictures_without_colors():
    start = Start(EnvironmentSource(f"{STRANGE}:Gray", "red"), 0, filmed=True)
    with Crew(1) as crew, pytest.raises(ValueError, match=r"uint8 of shape \(256, 256\)"):
        crew.begin([start])


@pytest.mark.fault
def test_numbers_that_cannot_be():
    with pytest.raises(ValueError, match="workers is 0"):
        Crew(0)
    with pytest.raises(ValueError, match="timeout is 0"):
        Crew(1, timeout=0)
