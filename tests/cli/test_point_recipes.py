"""Recipes on meshes: they parse, name their source, and their networks fit what solvers make."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.cli.fit_open import filled
from surform.cli.lightning_cli import SurformCLI
from surform.data.points_description import PointsDescription
from surform.data.solvers import SOLVERS
from surform.data.solvers.options import full_options
from surform.recipes import find_recipe, list_recipes
from surform.registry import import_object
from tests.data.point_files import ABOUT

RECIPES = [name for name in list_recipes() if name.startswith("operators/gnot-")]
MADE = [name for name in RECIPES if "own" not in name]


def of_solver(name: str) -> PointsDescription:
    """What the solver of a recipe writes."""
    solver = read_config(name)["data"]["init_args"]["generate"]["solver"]
    return importlib.import_module(SOLVERS[solver].partition(":")[0]).POINTS


def test_the_published_experiments_are_there() -> None:
    made = {f"operators/gnot-{name}{size}" for name in ("ns2d-c", "heat", "elasticity")
            for size in ("", "-paper")}  # fmt: skip
    assert set(RECIPES) >= made | {"operators/gnot-own-mesh"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_complete(name: str) -> None:
    config = filled(read_config(name), ABOUT.sizes())
    check_names(config)
    data = SurformCLI(config, build=False).resolved()["data"]["init_args"]
    text = find_recipe(name).read_text()
    assert f"surform fit --config {name}" in text
    assert "# Source:" in text
    assert "# Reaches:" in text
    if data["generate"]:
        assert sum(data["split"].values()) == data["generate"]["samples"]
    else:
        assert "no solver" in text


@pytest.mark.parametrize("name", MADE)
def test_the_network_of_a_recipe_fits_what_its_solver_makes(name: str) -> None:
    config, about = read_config(name), of_solver(name)
    node, data = config["model"]["init_args"]["net"], config["data"]["init_args"]
    module, _, cls = node["class_path"].rpartition(".")
    with torch.device("meta"):
        found: dict[str, Any] = import_object(f"{module}:{cls}")(**node["init_args"]).arguments
    targets = data.get("targets", about.targets)
    assert set(targets) <= set(about.targets)
    assert found["in_channels"] == len(about.coordinates)
    assert found["out_channels"] == len(targets)
    assert found["parameters"] == len(about.parameters)
    assert list(found["input_channels"]) == [len(columns) for columns in about.inputs.values()]


@pytest.mark.parametrize("name", MADE)
def test_solver_options_of_a_recipe_exist(name: str) -> None:
    given = dict(read_config(name)["data"]["init_args"]["generate"])
    solver = given.pop("solver")
    for common in ("samples", "seed"):
        given.pop(common)
    found = full_options(solver, given)
    assert {option: found[option] for option in given} == given


@pytest.mark.parametrize("name", [name for name in MADE if name.endswith("-paper")])
def test_published_training_is_as_published(name: str) -> None:
    config = read_config(name)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert model["optimizer"]["init_args"]["lr"] == 1e-3
    assert model["schedule"]["init_args"] == {
        "pct_start": 0.2,
        "div_factor": 1e4,
        "final_div_factor": 1e4,
    }
    assert config["trainer"]["gradient_clip_val"] == 1000
    assert config["trainer"]["max_epochs"] == 500
    assert (data["batch_size"], data["split"]["train"], data["protocol"]) == (4, 1000, "paper")
