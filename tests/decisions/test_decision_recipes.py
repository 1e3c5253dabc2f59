"""Recipes of agents are valid; one trains, is tested and plays through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import surform
from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.data.decisions_module import DecisionsData
from surform.decisions.agent import Agent
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model

RECIPES = [name for name in list_recipes() if name.startswith("decisions/")]
# published network, its sizes, worlds, rounds, learning rate
PUBLISHED = {
    "ad-linear-bandit-paper": ("in_context_bandit", 10, 8, 200, 1e-3),
    "dpt-linear-bandit-relu-paper": ("in_context_bandit", 10, 8, 200, 1e-3),
    "dpt-linear-bandit-paper": ("dpt", 10, 4, 200, 1e-4),
    "dpt-bandit-paper": ("dpt", 5, 4, 500, 1e-4),
    "dpt-dark-room-paper": ("dpt", 5, 4, 100, 1e-3),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid(name: str) -> None:
    config = read_config(name)
    check_names(config)
    data = DecisionsData(**config["data"]["init_args"])
    given = config["model"]["init_args"]["net"]["init_args"]
    sizes = {key: value for key, value in data.description().sizes().items() if key in given}
    with torch.device("meta"):
        net = create_model(_name(config), **given | sizes)
    assert net.horizon >= data.rounds
    text = find_recipe(name).read_text()
    assert f"surform fit --config {name}\n" in text
    assert "# Reaches:" in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_as_published(name: str) -> None:
    config = read_config(f"decisions/{name}")
    net, actions, depth, rounds, rate = PUBLISHED[name]
    data = DecisionsData(**config["data"]["init_args"])
    given = config["model"]["init_args"]
    assert _name(config) == net
    assert (data.setting.actions, data.rounds) == (actions, rounds)
    assert (given["net"]["init_args"]["dim"], given["net"]["init_args"]["depth"]) == (32, depth)
    optimizer = given["optimizer"]["init_args"]
    assert (optimizer["lr"], optimizer["weight_decay"]) == (rate, 1e-4)


def test_from_fit_to_test_and_play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    words = (
        "fit --config decisions/dpt-linear-bandit --out r --model.net.depth 1 --model.net.dim 8 "
        "--model.net.horizon 6 --data.rounds 6 --data.lengths [6] --data.environments 64 "
        "--data.validation 8 --data.test 9 --trainer.max_epochs 1"
    )
    assert main(words.split()) == 0
    assert "report: r/report.html" in capsys.readouterr().out
    assert main(["test", "--ckpt_path", "best", "--out", "r"]) == 0
    shown = capsys.readouterr().out
    found = json.loads(Path("r/test.json").read_text())
    for figure in ("regret", "thompson_regret", "linucb_regret", "regret_over_thompson"):
        assert f"test/{figure} " in shown
        assert found[f"test/{figure}/clean"] > 0
    player = surform.load_model("r/model").player()
    player.start(batch=2)
    player.learn(player.choose(), torch.zeros(2))
    assert player.chances().shape == (2, 10)


@pytest.mark.fault
def test_what_the_command_line_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (["--data.collector", "thomson"], "'thomson' does not play linear_bandit"),
        (["--data.worlds", "{name: casino}"], "no worlds called 'casino'"),
        (["--model.net.horizon", "9"], "contexts have 200 rounds, but the network has a horizon"),
    ):
        assert main(["fit", "--config", "decisions/dpt-linear-bandit", "--out", "r", *words]) != 0
        assert message in capsys.readouterr().err
    assert not Path("r").exists()
    Agent(create_model("dpt", actions=2, dim=8, depth=1)).save_pretrained("agent")
    assert main(["predict", "--ckpt_path", "agent", "--data.path", "x", "--out", "y"]) != 0
    assert "agents act instead of predicting from files" in capsys.readouterr().err


def _name(config: dict) -> str:
    path = config["model"]["init_args"]["net"]["class_path"]
    return {"DPT": "dpt", "InContextBandit": "in_context_bandit"}[path.rpartition(".")[2]]
