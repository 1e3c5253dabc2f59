"""Every recipe parses, names its source, and builds its network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.cli.lightning_cli import SurformCLI
from surform.data.fields import open_fields
from surform.data.solvers.generate import generate
from surform.data.solvers.options import full_options
from surform.recipes import find_recipe, list_recipes
from surform.registry import import_object

# Those on grids; test_point_recipes.py has those on meshes.
RECIPES = [name for name in list_recipes() if re.match("operators/(?!gnot-)", name)]


def test_the_published_experiments_are_there() -> None:
    assert set(RECIPES) >= {
        "operators/quickstart",
        "operators/galerkin-burgers",
        "operators/galerkin-burgers-paper",
        "operators/galerkin-darcy",
        "operators/galerkin-darcy-inverse",
        "operators/factformer-kolmogorov",
        "operators/factformer-kolmogorov-paper",
        "operators/factformer-darcy",
        "operators/factformer-smoke",
        "operators/factformer-turbulence",
        "operators/ifactformer-channel",
        "operators/ifactformer-channel-paper",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_complete(name: str) -> None:
    config = read_config(name)
    check_names(config)
    parsed = SurformCLI(config, build=False).resolved()
    data = parsed["data"]["init_args"]
    text = find_recipe(name).read_text()
    assert f"surform fit --config {name}" in text
    assert "# Source:" in text
    assert "# Reaches:" in text
    assert data["generate"] or "no solver" in text
    if data["generate"]:
        asked = sum(data["split"].values())
        assert asked == data["generate"]["samples"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_network_of_a_recipe_fits_its_data(name: str) -> None:
    config = read_config(name)
    node, data = config["model"]["init_args"]["net"], config["data"]["init_args"]
    module, _, cls = node["class_path"].rpartition(".")
    with torch.device("meta"):
        net = import_object(f"{module}:{cls}")(**node["init_args"])
    arguments = net.arguments
    assert arguments["in_channels"] == len(data["inputs"]) + len(data.get("parameters", ()))
    assert arguments["out_channels"] == len(data["targets"])
    assert arguments.get("input_steps") == data.get("input_steps")
    steps = config["model"]["init_args"].get("steps")
    if steps:
        assert steps <= net.max_steps
        rollouts = config["model"]["init_args"].get("pushforward_rollouts", 0)
        assert data["target_steps"] >= steps * (rollouts + 1)


@pytest.mark.parametrize("name", RECIPES)
def test_solver_options_of_a_recipe_are_taken_as_they_are_written(name: str) -> None:
    given = dict(read_config(name)["data"]["init_args"].get("generate") or {})
    if not given:
        pytest.skip("brings no solver")
    solver = given.pop("solver")
    common = {n: given.pop(n) for n in ("samples", "seed", "batch", "dtype") if n in given}
    assert common["samples"] >= 1
    found = full_options(solver, given)
    assert {option: found[option] for option in given} == given
    with pytest.raises(ValueError, match=f"unknown option of {solver} 'sample'"):
        full_options(solver, {"sample": 1})


def test_the_smoke_recipes_read_what_their_solver_writes(tmp_path: Path) -> None:
    from surform.data.fields import open_fields
    from surform.data.solvers.generate import generate

    out = tmp_path / "smoke.zarr"
    generate("smoke", out, 1, grid=8, frames=1, skip=0)
    known = set(open_fields(out).data_vars)
    for name in ("operators/factformer-smoke", "operators/factformer-smoke-paper"):
        config = read_config(name)
        data = config["data"]["init_args"]
        assert {*data["inputs"], *data["targets"]} <= known
        walls = config["model"]["init_args"]["walls"]
        assert walls == [f"velocity_{axis}" for axis in "xyz"]
        for variable, axis in zip(walls, "xyz", strict=True):
            assert (open_fields(out)[variable].isel({axis: 0}) == 0).all()


def test_third_parties_add_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy_recipes"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "small.yaml").write_text("trainer: {max_steps: 3}\n")

    class Point:
        name, value = "toy", "toy_recipes"

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("surform.recipes.entry_points", lambda group: [Point])
    assert read_config("toy/small") == {"trainer": {"max_steps": 3}}


def test_a_short_name_is_taken_where_one_recipe_has_it() -> None:
    assert find_recipe("own-csv") == find_recipe("forecasting/own-csv")
    both = r"'quickstart' could be .*operators/quickstart or .*robotics/quickstart: give the full"
    with pytest.raises(ValueError, match=both):
        find_recipe("quickstart")


def test_an_unknown_recipe_is_told_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean operators/galerkin-darcy-inverse,"):
        find_recipe("operators/galerkin-darcy-invers")
    with pytest.raises(FileNotFoundError, match=r"'zzz': `surform list recipes` shows every"):
        find_recipe("zzz")
    near = (
        r"did you mean (forecasting/[\w-]+, ){2}forecasting/[\w-]+\? `surform list recipes` shows"
    )
    with pytest.raises(FileNotFoundError, match=near):
        find_recipe("forecasting/my-csv")
    monkeypatch.setattr("surform.recipes.list_recipes", dict)
    with pytest.raises(FileNotFoundError, match=r"no recipe 'zzz': there are none installed$"):
        find_recipe("zzz")


# Options that make a solver's data in a moment.
SMALL = {
    "burgers": {"points": 16, "modes": 16, "dt": 0.05},
    "channel": {f"{what}_{axis}": n for what, n in (("grid", 8), ("keep", 4)) for axis in "xz"}
    | {"grid_y": 17, "keep_y": 5, "frames": 1, "spin_up": 0.0},
    "darcy": {"grid": 9, "stride": 1},
    "darcy_inverse": {"grid": 25, "stride": 3, "pool_stride": 12},
    "kolmogorov": {"grid": 32, "stride": 1, "frames": 2, "spin_up": 0.1, "dt": 0.02},
    "smoke": {"grid": 8, "frames": 1, "skip": 0},
}


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], set[str]]:
    """The variables that a solver writes."""
    folder = tmp_path_factory.mktemp("solvers")

    def made(solver: str) -> set[str]:
        path = generate(solver, folder / f"{solver}.zarr", 1, **SMALL[solver])
        return set(map(str, open_fields(path).data_vars))

    return made


@pytest.mark.parametrize("name", RECIPES)
def test_the_variables_of_a_recipe_are_those_of_its_solver(
    name: str, fields: Callable[[str], set[str]]
) -> None:
    data = read_config(name)["data"]["init_args"]
    if not data.get("generate"):
        pytest.skip("brings no solver")
    roles = ("inputs", "targets", "parameters", "auxiliary")
    asked = {variable for role in roles for variable in data.get(role, ())}
    assert asked <= fields(data["generate"]["solver"])
