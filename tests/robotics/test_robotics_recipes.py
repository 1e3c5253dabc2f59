"""Recipes for robots are valid, and their networks fit the data that they are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surform.cli.fit_check import check_names
from surform.cli.fit_config import apply_overrides, read_config
from surform.cli.fit_open import build_data, data_sizes, filled
from surform.cli.lightning_cli import SurformCLI
from surform.data.demonstrations_write import DemonstrationWriter
from surform.recipes import find_recipe, list_recipes
from surform.registry import import_object
from surform.robotics.embodied_task import EmbodiedTask
from surform.robotics.policy import Policy

RECIPES = [name for name in list_recipes() if name.startswith("robotics/")]
# observed vectors and numbers in an action of the environments
SIZES = {
    "quickstart": ({"state": 8}, 2),
    "metaworld": ({"state": 39}, 4),
    "pusht": ({"agent_pos": 2, "block_pose": 3}, 2),
}


def demonstrations(path: Path, environment: str) -> Path:
    vectors, actions = SIZES[environment]
    rng = np.random.default_rng(0)
    with DemonstrationWriter(path, {"env_name": environment}) as writer:
        for number in range(10):
            seen = {name: rng.normal(size=(5, size)) for name, size in vectors.items()}
            image = rng.integers(0, 255, (5, 96, 96, 3), dtype=np.uint8)
            writer.add(
                rng.uniform(-1, 1, (5, actions)), seen | {"image": image}, np.zeros(5), np.ones(5),
                task=f"task {number % 2}",
            )  # fmt: skip
    return path


def test_what_there_is() -> None:
    names = ["metaworld-mlp", "metaworld-dit", "metaworld-hpt", "metaworld-rt1", "own-dit"]
    names += ["metaworld-pusht-hpt", "pusht-dit", "pusht-hpt", "quickstart"]
    assert set(RECIPES) >= {f"robotics/{name}" for name in names}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_names_its_source(name: str) -> None:
    config = read_config(name)
    config = filled(config, {"action_dim": 4, "chunk": 8, "state_dim": 39})
    check_names(config)
    SurformCLI(config, build=False)
    text = find_recipe(name).read_text()
    for part in ("# Source:", "# Data:", f"# Command: surform fit --config {name}", "# Reaches:"):
        assert part in text, part


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_of_a_recipe_learns_from_its_data(name: str, tmp_path: Path) -> None:
    environment = name.removeprefix("robotics/").partition("-")[0]
    if environment == "own":
        pytest.skip("a network of 70 M parameters, for data that are not known")
    if name == "robotics/metaworld-pusht-hpt":
        pytest.skip("two robots: see below")
    path = demonstrations(tmp_path / "demos.h5", environment)
    words = ["--data.path", str(path), "--data.generate", "null"]
    config = apply_overrides(read_config(name), words)
    config = filled(config, data_sizes(config))
    data, net = build_data(config), config["model"]["init_args"]["net"]
    cls = import_object(":".join(net["class_path"].rsplit(".", 1)))
    policy = Policy(cls(**net["init_args"]))
    policy.fit_to(data.description(), *data.normalizers())
    batch = data.samples("train")[[0, 1, 7]]
    loss = policy.net.learn(policy.window(batch))  # type: ignore[operator]
    loss.backward()
    assert loss.isfinite()
    policy.eval()
    assert policy.outputs(batch).shape == batch.actions.shape


def test_the_network_of_two_robots_learns_from_both(tmp_path: Path) -> None:
    words = []
    for robot in ("metaworld", "pusht"):
        words += [f"--data.path.{robot}", str(demonstrations(tmp_path / f"{robot}.h5", robot))]
    config = apply_overrides(read_config("robotics/metaworld-pusht-hpt"), words)
    data, net = build_data(config), config["model"]["init_args"]["net"]
    cls = import_object(":".join(net["class_path"].rsplit(".", 1)))
    task = EmbodiedTask(cls(**net["init_args"]))
    task.surrogate.fit_to(data.description(), *data.normalizers())
    batch = data.samples("train")[[0, 1, 46]]
    assert len(batch.parts) == 2
    loss = task.training_loss(batch)[1]
    loss.backward()
    assert loss.isfinite()
