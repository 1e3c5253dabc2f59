from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip(
    "gym_pusht", reason="surform[simulators] is not installed", exc_type=ImportError
)

from surform.data.environments.crew import Crew, Start
from surform.data.environments.opening import EnvironmentSource
from surform.data.solvers.demonstrations_run import attempts_of
from surform.data.solvers.generate import generate


def test_observations_and_measures():
    source = EnvironmentSource("pusht", None, {"image_size": 64})
    with Crew(1) as crew:
        moments = crew.begin([Start(source, 9000, filmed=True), Start(source, 9000)])
        found = crew.step({0: np.array([256.0, 256.0]), 1: np.array([256.0, 256.0])})
        assert crew.rows[0].high.tolist() == [512, 512]
        assert crew.rows[0].fps == 10
    seen = moments[0].observation
    assert {name: value.shape for name, value in seen.items()} == {
        "agent_pos": (2,), "block_pose": (3,), "image": (64, 64, 3),
    }  # fmt: skip
    assert 0 <= seen["block_pose"][2] < 2 * np.pi
    assert moments[0].picture is not None
    assert moments[0].picture.shape == (256, 256, 3)
    assert 0 <= found[0].told["coverage"] < 1
    assert (found[0].observation["agent_pos"] == found[1].observation["agent_pos"]).all()


@pytest.mark.slow
def test_the_planner_pushes_the_t_home(tmp_path):
    import h5py

    path = generate("demonstrations", tmp_path / "pusht.h5", 5, env="pusht")
    with h5py.File(path, "r") as file:
        lengths = [demo.attrs["num_samples"] for demo in file["data"].values()]
    assert attempts_of(path) == {"push-t": (5, 5)}
    assert np.mean(lengths) < 200
