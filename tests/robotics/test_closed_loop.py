from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from surform.data.environments.point_reach import PointReach
from surform.robotics import evaluate
from surform.robotics.films import Film
from tests.data.environments.strange import STRANGE
from tests.robotics.reaching import Reaching


def courses(found):
    return [(e.task, e.seed, e.steps, e.reward, e.ended) for e in found.episodes]


@pytest.fixture(scope="module")
def found():
    return evaluate(Reaching(noise=0.3), "point-reach", episodes=3, batch_size=4)


def test_a_policy_that_does_as_it_is_told_succeeds(found):
    assert found.success_rate == 1.0
    assert found.tasks == ["red", "green", "blue"]
    assert [episode.seed for episode in found.episodes] == [0, 1, 2] * 3
    assert all(episode.ended == "success" for episode in found.episodes)
    row = found.rows()[-1]
    assert row["task"] == "all"
    assert (row["episodes"], row["successes"]) == (9, 9)
    assert row["low"] == pytest.approx(0.70085, abs=1e-4)
    assert 0 < found.episodes[0].clipped < 1


def test_the_same_again_with_more_processes(found):
    state = torch.get_rng_state()
    again = evaluate(Reaching(noise=0.3), "point-reach", episodes=3, batch_size=4, workers=3)
    assert courses(again) == courses(found)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.fault
def test_a_killed_simulator_does_not_change_the_results(found, tmp_path):
    again = evaluate(
        Reaching(noise=0.3),
        f"{STRANGE}:Dying",
        tasks=["red", "green", "blue"],
        episodes=3,
        batch_size=4,
        workers=2,
        options={"mark": str(tmp_path / "done")},
    )
    assert courses(again) == courses(found)
    # all episodes of the process are begun again
    assert sum(episode.restarts for episode in again.episodes) == 2


def test_returns_and_lengths_are_those_of_the_environment():
    found = evaluate(Reaching(), "point-reach", tasks=["green"], episodes=2, execute=1, seed=5)
    for episode in found.episodes:
        environment = PointReach("green")
        seen, _ = environment.reset(seed=episode.seed)
        total, steps, done = 0.0, 0, False
        while not done:
            seen, reward, _, _, info = environment.step(environment.expert()(seen))
            done = info["success"]
            total, steps = total + reward, steps + 1
        assert episode.steps == steps
        assert episode.reward == pytest.approx(total, abs=1e-4)


def test_a_class_and_an_observation_that_is_one_array():
    from tests.data.environments.strange import Vector

    class Pushing(Reaching):
        def act(self, observation, memory):
            assert "instruction" not in observation
            return torch.full((len(observation["state"]), 2, 1), 3.0), memory

    found = evaluate(Pushing(), Vector, episodes=2)
    assert [e.reward for e in found.episodes] == [5.0, 5.0]
    assert all(episode.success and episode.clipped == 1 for episode in found.episodes)
    assert found.rows()[0]["task"] == "–"


def test_a_class_with_no_more_than_is_needed():
    class Still(Reaching):
        def act(self, observation, memory):
            return torch.zeros(len(observation["state"]), 2, 1), memory

    found = evaluate(Still(), f"{STRANGE}:Bare", episodes=1)
    assert found.episodes[0].success
    assert (found.episodes[0].steps, found.episodes[0].reward) == (2, 2.0)


def test_steps_limit_an_episode():
    found = evaluate(Reaching(), "point-reach", tasks=["red"], episodes=1, steps=2)
    assert found.episodes[0].ended == "limit"
    assert found.episodes[0].success is False


def test_an_environment_that_tells_no_success():
    found = evaluate(
        Reaching(), f"{STRANGE}:Quiet", tasks=["red"], episodes=1, steps=60,
        instruction="go to the red disc",
    )  # fmt: skip
    assert found.episodes[0].success is None
    assert np.isnan(found.success_rate)
    assert found.to_dict()["all"]["success rate"] is None


def test_films_and_results_are_files(tmp_path):
    found = evaluate(Reaching(), "point-reach", episodes=2, films=4, folder=tmp_path)
    names = [episode.film for episode in found.episodes]
    assert names == ["red-0.mp4", "red-1.mp4", "green-0.mp4", None, "blue-0.mp4", None]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(n for n in names if n)
    assert len(found.strips[0]) == 8
    path = found.write(tmp_path / "results.json")
    assert json.loads(path.read_text())["episodes"][1] == asdict(found.episodes[1])


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_shows_what_was_drawn(suffix, tmp_path):
    if suffix == ".mp4":
        pytest.importorskip("av", reason="surform[video] is not installed")
    pictures = [np.full((32, 48, 3), shade, np.uint8) for shade in range(0, 200, 10)]
    with Film(tmp_path / f"film{suffix}", 10.0) as film:
        for picture in pictures:
            film.add(picture)
    shades = [int(picture.mean()) for picture in film.strip()]
    assert (shades[0], shades[-1], len(shades)) == (0, 190, 8)
    assert shades == sorted(shades)
    if suffix == ".gif":
        with Image.open(film.path) as read:
            assert read.n_frames == len(pictures)  # pyright: ignore[reportAttributeAccessIssue]
        return
    import av

    with av.open(str(film.path)) as read:
        frames = [frame.to_ndarray(format="rgb24") for frame in read.decode(video=0)]
    assert len(frames) == len(pictures)
    assert [f.mean() for f in frames] == pytest.approx([p.mean() for p in pictures], abs=4)


@pytest.mark.fault
def test_a_film_that_fails_leaves_nothing(tmp_path):
    def broken():
        with Film(tmp_path / "film.gif", 10.0) as film:
            film.add(np.zeros((32, 32, 3), np.uint8))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken()
    assert list(tmp_path.iterdir()) == []
