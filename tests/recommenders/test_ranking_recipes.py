"""Recipes of rankers are valid; one trains, is tested and scores through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch

import surform
from surform.cli import main
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.data.solvers.options import full_options
from surform.recipes import find_recipe, list_recipes
from surform.recommenders.ranking_scores import auc
from surform.registry import BUILT_IN, create_model

RECIPES = [name for name in list_recipes() if name.startswith("recommenders/")]
GENERATED = [name for name in RECIPES if name.endswith(("-generated", "quickstart"))]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid(name: str) -> None:
    config = read_config(name)
    check_names(config)
    given = config["model"]["init_args"]["net"]
    registered = {where.replace(":", "."): key for key, where in BUILT_IN["models"].items()}
    sizes = {"vocab_sizes": (5, 7), "multi_vocab_sizes": (4,), "dense_features": 3, "tasks": 1}
    known = {key: sizes[key] for key, value in given["init_args"].items() if value is None}
    with torch.device("meta"):
        create_model(registered[given["class_path"]], **given["init_args"] | known)
    text = find_recipe(name).read_text()
    assert f"surform fit --config {name}" in text
    assert "# Reaches:" in text


def test_generated_recipes_differ_in_nothing_but_the_network_and_its_training() -> None:
    configs = {name: read_config(name) for name in GENERATED}
    for config in configs.values():
        full_options("clicks", {})  # the solver is there
        assert config["data"] == configs[GENERATED[0]]["data"]
        assert set(config["trainer"]) == {"max_epochs"}  # which validation chose for each
        assert config["model"]["init_args"]["truth"] == "probability"


def test_published_sizes_stand_in_the_recipes_of_published_logs() -> None:
    for name in ("criteo", "avazu"):
        net = read_config(f"recommenders/{name}")["model"]["init_args"]["net"]["init_args"]
        found = [net[key] for key in ("dim", "heads", "key_dim", "value_dim", "key_rank")]
        assert [*found, net["value_rank"]] == [128, 4, 16, 64, 128, 1024]


def test_from_generate_to_fit_test_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    log = "{solver: clicks, samples: 1500, world: 0}"
    small = ["--data.generate", log, "--trainer.max_steps", "4", "--data.batch_size", "64"]
    assert main(["fit", "--config", "recommenders/quickstart", "--out", "run", *small]) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert {"validation/auc/clean", "validation/attained/clean"} <= set(summary["metrics"])
    assert main(["test", "--ckpt_path", "best", "--out", "run"]) == 0
    found = json.loads((tmp_path / "run/test.json").read_text())
    assert 0.5 < found["test/bayes_auc/clean"] < 1
    # another log is read with the numbers that its categories had in training
    table = parquet.read_table("clicks.parquet")
    item = pyarrow.array([31 - item for item in table["item"].to_pylist()])
    parquet.write_table(
        table.set_column(table.column_names.index("item"), "item", item), "b.parquet"
    )
    words = ["--data.path", "b.parquet", "--data.generate", "null"]
    assert main(["test", "--ckpt_path", "best", "--out", "run", *words]) == 0
    tested = json.loads((tmp_path / "run/test.json").read_text())
    model = surform.load_model("run/model")
    order = np.random.RandomState(0).permutation(1500)
    rows = parquet.read_table("b.parquet").take(np.sort(order[1350:]))
    expected = auc(rows["click"].to_numpy(), model.score(rows)[:, 0].numpy())
    assert tested["test/auc/clean"] == pytest.approx(expected, abs=1e-6)
    words = ["predict", "--ckpt_path", "run", "--data.path", "clicks.parquet"]
    assert main([*words, "--out", "scores.csv", "--data.keep", "[item, click]"]) == 0
    assert (tmp_path / "scores.csv").read_text().splitlines()[0].count(",") == 2
    assert main([*words, "--out", "scores.parquet"]) == 0
    assert parquet.read_table("scores.parquet").num_rows == 1500
    said = capsys.readouterr().out
    assert "predictions: scores.parquet" in said


@pytest.mark.fault
def test_wrong_options_of_predict_are_said(tmp_path: Path, capsys) -> None:
    log = tmp_path / "c.parquet"
    run = str(tmp_path / "run")
    words = ["--config", "recommenders/quickstart", "--trainer.max_steps", "1", "--no_report"]
    given = ["--data.path", str(log), "--data.generate", "{solver: clicks, samples: 300}"]
    assert main(["fit", *words, *given, "--out", run]) == 0
    for more, said in (
        (["--data.kep", "[item]"], "predict has no option --data.kep"),
        (["--data.path", str(tmp_path / "none.parquet")], "none.parquet"),
    ):
        words = ["predict", "--ckpt_path", run, "--out", str(tmp_path / "s.parquet")]
        assert main([*words, *given[:2], *more]) == 2
        assert said in capsys.readouterr().err


def test_movielens_trains_and_scores_from_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "ml"
    folder.mkdir()
    genres = ("Comedy|Drama", "(no genres listed)", "Drama")
    films = [f'{n},"Film {n} ({1990 + n})",{genres[n % 3]}' for n in range(12)]
    rates = [f"{n % 9},{n % 12},{1 + n % 5},{1_500_000_000 + 5000 * n}" for n in range(400)]
    for name, head, rows in (
        ("movies.csv", "movieId,title,genres", films),
        ("ratings.csv", "userId,movieId,rating,timestamp", rates),
    ):
        (folder / name).write_text("\n".join([head, *rows]) + "\n")
    words = ["fit", "--config", "recommenders/movielens", "--data.path", "ml", "--out", "run"]
    assert main([*words, "--trainer.max_epochs", "1", "--data.batch_size", "64"]) == 0
    predict = ["predict", "--ckpt_path", "run", "--data.path", "ml", "--out", "scores.parquet"]
    assert main([*predict, "--data.keep", "[userId, movieId, year]"]) == 0
    found = parquet.read_table("scores.parquet")
    assert found.column_names == ["userId", "movieId", "year", "probability"]
    assert found["year"].to_pylist()[:3] == [1990, 1991, 1992]
