"""iTransformer's recipes are the authors'; one trains with a covariate known ahead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import surform
from surform.cli import main
from surform.cli.fit_config import read_config
from surform.cli.fit_progress import quiet
from surform.cli.lightning_cli import SurformCLI
from surform.data.calendar import calendar_names
from surform.recipes import find_recipe, list_recipes
from surform.registry import create_model

RECIPES = [name for name in list_recipes() if name.startswith("forecasting/itransformer-")]
LONG = ("etth1", "etth2", "ettm1", "ettm2", "exchange", "weather", "ecl", "traffic", "solar")
PEMS = ("pems03", "pems04", "pems07", "pems08")
# dim, depth, learning rate, batch: where they depend on the data set only
SIZES = {
    **dict.fromkeys(("etth2", "ettm1", "ettm2", "exchange"), (128, 2, 1e-4, 32)),
    "weather": (512, 3, 1e-4, 32),
    "ecl": (512, 3, 5e-4, 16),
    "traffic": (512, 4, 1e-3, 16),
    "solar": (512, 2, 5e-4, 32),
    "pems03": (512, 4, 1e-3, 32),
    "pems04": (1024, 4, 5e-4, 32),
}


def test_every_published_experiment_has_one() -> None:
    expected = {f"{data}-{h}" for data in LONG for h in (96, 192, 336, 720)}
    expected |= {f"{data}-{h}" for data in PEMS for h in (12, 24, 48, 96)}
    assert {name.removeprefix("forecasting/itransformer-") for name in RECIPES} == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_as_published(name: str) -> None:
    dataset, horizon = name.removeprefix("forecasting/itransformer-").split("-")
    config = read_config(name)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    net = model["net"]["init_args"]
    assert net["lookback"] == data["lookback"] == 96
    assert net["horizon"] == data["horizon"] == int(horizon)
    found = net["dim"], net["depth"], model["optimizer"]["init_args"]["lr"], data["batch_size"]
    assert found == SIZES.get(dataset, found)
    pems = dataset in PEMS
    normalized = dataset == "pems03" or (dataset == "pems08" and horizon in ("12", "24"))
    assert net.get("normalize", True) is (normalized if pems else True)
    assert data.get("overlap", True) is not pems
    assert data.get("marks", False) is (not pems and dataset != "solar")
    if data.get("marks"):
        step = {"ettm1": "15min", "ettm2": "15min", "weather": "10min", "exchange": "1D"}
        assert len(calendar_names(data.get("marks_step") or step.get(dataset, "1h"))) == 4
    assert config["trainer"]["max_epochs"] == (
        1 if (dataset, horizon) == ("exchange", "336") else 10
    )
    with torch.device("meta"):
        create_model("itransformer", **net)
    text = find_recipe(name).read_text()
    assert f"surform fit --config {name} --data.path {data['path']}\n" in text
    assert "# Source:" in text
    assert "# Reaches:" in text


def test_the_options_are_valid() -> None:
    for name in ("itransformer-pems04-12", "itransformer-weather-96", "itransformer-solar-96"):
        config = SurformCLI(read_config(f"forecasting/{name}"), build=False).resolved()
        assert config["model"]["init_args"]["net"]["init_args"]["attention"] == "softmax"


def write_table(path: Path, rows: int = 600) -> None:
    """Two series that follow a price which is announced ahead, hour by hour."""
    draw = np.random.default_rng(0)
    price = draw.normal(size=(rows, 1)).round(2)
    values = 20 - 4 * price + np.array([[0, 5]]) + 0.1 * draw.normal(size=(rows, 2))
    times = np.datetime64("2020-01-01T00") + np.arange(rows)
    table = np.hstack((price, values))
    lines = [",".join([str(t), *map(str, row)]) for t, row in zip(times, table, strict=True)]
    path.write_text("\n".join(["date,price,a,b", *lines]) + "\n")


def test_a_recipe_trains_with_a_covariate_known_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
    quiet()
    write_table(tmp_path / "table.csv")
    options = {
        "model.net": {
            "lookback": 12,
            "horizon": 6,
            "dim": 32,
            "known": "null",
            "normalize": "false",
        },
        "data": {"lookback": 12, "horizon": 6, "path": "table.csv", "split": "ratio"},
        "model.optimizer": {"lr": 5e-3},
        "trainer": {"max_epochs": 8, "accelerator": "cpu"},
    }
    words = [f"--{a}.{b}={value}" for a, group in options.items() for b, value in group.items()]
    words += ["--data.known=[price]", "--model.schedule=cosine"]
    recipe = ("fit", "--config", "forecasting/itransformer-etth1-96", "--no_report", "--out", "run")
    assert main([*recipe, *words]) == 0
    model = surform.load_model("run/model")
    table = np.loadtxt("table.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
    rows = torch.from_numpy(table[-18:]).float()[None]
    window, future, price = rows[:, :12, 1:], rows[:, 12:, 1:], rows[..., :1]
    marks = torch.zeros(1, 12, 4)
    forecast = model(window, past_marks=marks, known=price)
    assert (forecast - future).square().mean() < 0.3 * future.var()  # nothing else tells the future
