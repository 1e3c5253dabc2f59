"""A table of one's own from the command line: fit, predict, validate, test, resume, load."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import surform
from surform.cli.fit_check import check_names
from surform.cli.fit_config import read_config
from surform.cli.main import main
from surform.recipes import find_recipe
from surform.training.checkpoint import read_checkpoint
from tests.forecasting.tables import frame, panel, write

SMALL = (
    *("--data.lookback", "24", "--data.horizon", "6", "--data.batch_size", "16"),
    *("--model.net.dim", "8", "--model.net.depth", "1", "--model.net.heads", "2"),
    *("--trainer.max_epochs", "2"),
)
OWN = ("--config", "forecasting/own-csv", "--data.path", "mine.csv", *SMALL)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    write(tmp_path / "mine.csv", frame())
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.delenv("SURFORM_RUN_FOLDER", raising=False)
        code = main(list(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def trained(run: Run) -> Path:
    code, _, error = run("fit", *OWN, "--out", "r", "--no_report")
    assert code == 0, error
    return Path("r")


def refused(result: tuple[int, str, str], message: str) -> None:
    code, out, error = result
    assert code == 2, (out, error)
    assert error.count("\n") == 1, error
    assert message in error


def test_the_network_takes_its_sizes_from_the_table(trained: Path) -> None:
    net = yaml.safe_load((trained / "config.yaml").read_text())["model"]["init_args"]["net"]
    sizes = {name: net["init_args"][name] for name in ("lookback", "horizon", "known", "static")}
    assert sizes == {"lookback": 24, "horizon": 6, "known": 0, "static": 0}
    description = json.loads((trained / "data.json").read_text())
    assert description["variates"] == ["a", "b", "c"]
    assert description["step"] == "1h"


def test_a_finished_run_forecasts_what_follows(run: Run, trained: Path) -> None:
    code, out, error = run("predict", "--ckpt_path", "r", "--out", "next.csv")
    assert code == 0, error
    assert out.endswith("predictions: next.csv\n")
    found = pd.read_csv("next.csv")
    assert found["date"].tolist()[0] == "2024-01-11 00:00:00"
    assert len(found) == 6
    # the run's own model, with its intervals; the same from the folder and from Python
    model = surform.load_model("r/model")
    expected = model.predict("mine.csv")
    assert found.columns.tolist() == expected.columns.tolist()
    np.testing.assert_array_equal(found["a"].astype("float32"), expected["a"])
    code, _, error = run(
        "predict", "--ckpt_path", "r/model", "--data.path", "mine.csv", "--out", "again.csv"
    )
    assert code == 0, error
    assert Path("again.csv").read_bytes() == Path("next.csv").read_bytes()


def test_a_checkpoint_forecasts_another_table(run: Run, trained: Path) -> None:
    write(Path("later.csv"), frame(300))
    words = ("--ckpt_path", "r/checkpoints/last.ckpt", "--data.path", "later.csv")
    code, _, error = run("predict", *words, "--out", "later.nc")
    assert code == 0, error
    import xarray as xr

    with xr.open_dataset("later.nc") as found:
        assert found["date"].values[0] == np.datetime64("2024-01-13T12")


def test_a_hole_long_ago_is_no_obstacle(run: Run, trained: Path) -> None:
    words = ("predict", "--ckpt_path", "r", "--data.path", "later.csv", "--out", "later.csv.csv")
    table = frame(300)
    table.loc[100, "b"] = np.nan
    write(Path("later.csv"), table.drop(index=range(30, 40)))
    code, _, error = run(*words)
    assert code == 0, error
    refused(run(*words, "--data.gaps", "error"), "later.csv")
    table.loc[290, "b"] = np.nan
    write(Path("later.csv"), table)
    refused(run(*words), "column 'b': a value is missing, but a forecast needs the last 24 rows")


def test_a_network_that_is_not_registered_is_named_by_its_user(run: Run) -> None:
    net = ("--model.net", "tests.forecasting.toys.Plain")
    words = ("--config", "forecasting/own-csv", "--data.path", "mine.csv", *net)
    sizes = ("--data.lookback", "24", "--data.horizon", "6", "--trainer.max_epochs", "1")
    code, _, error = run("fit", *words, *sizes, "--out", "r", "--no_report")
    assert code == 0, error
    for source in ("r", "r/checkpoints/last.ckpt"):
        refused(run("predict", "--ckpt_path", source, "--out", "x.csv"), "toys.Plain, which is not")
        code, _, error = run("predict", "--ckpt_path", source, *net, "--out", "next.csv")
        assert code == 0, error


ANOTHER = {
    "samformer": (),
    "card": ("--model.net.dim", "8", "--model.net.depth", "1"),
    "informer": ("--model.net.dim", "8", "--model.net.heads", "2"),
    "informer_stack": ("--model.net.dim", "8", "--model.net.heads", "2"),
    "pathformer": ("--model.net.dim", "4"),
    "dlinear": (),
}


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("name", list(ANOTHER))
def test_another_network_takes_its_sizes_from_the_table(run: Run, name: str, columns: int) -> None:
    table = frame(900)
    table["d"] = table["a"] - table["b"]
    write(Path("mine.csv"), pd.DataFrame(table, columns=["date", *"abcd"[:columns]]))
    sizes = ("--model.net.lookback", "null", "--model.net.horizon", "null", *ANOTHER[name])
    data = ("--data.path", "mine.csv", "--data.lookback", "96", "--data.horizon", "6")
    words = ("--config", "forecasting/own-csv", *data, "--model.net", name, *sizes)
    code, _, error = run("fit", *words, "--trainer.max_steps", "2", "--out", "r", "--no_report")
    assert code == 0, error
    net = yaml.safe_load(Path("r/config.yaml").read_text())["model"]["init_args"]["net"]
    assert net["init_args"]["lookback"] == 96
    assert net["init_args"].get("variates") in (None, columns)


def test_pathformer_finds_patches_that_fit_any_lookback(run: Run) -> None:
    net = ("--model.net", "pathformer", "--model.net.dim", "4")
    data = ("--data.path", "mine.csv", "--data.lookback", "28", "--data.horizon", "6")
    words = ("fit", "--config", "forecasting/own-csv", *data, *net, "--trainer.max_steps", "2")
    code, _, error = run(*words, "--out", "r", "--no_report")
    assert code == 0, error
    net = yaml.safe_load(Path("r/config.yaml").read_text())["model"]["init_args"]["net"][
        "init_args"
    ]
    assert (net["lookback"], net["horizon"], net["variates"]) == (28, 6, 3)
    code, _, error = run("predict", "--ckpt_path", "r/checkpoints/last.ckpt", "--out", "next.csv")
    assert code == 0, error
    refused(
        run(*words, "--model.net.patch_sizes", "[[16, 8]]", "--out", "never"),
        "16 does not divide lookback = 28; valid are 1, 2, 4, 7, 14, 28, or null for sizes that",
    )


def test_the_best_checkpoint_of_a_recipe_is_found(run: Run) -> None:
    recipe = read_config("forecasting/own-csv")
    recipe["data"]["init_args"] |= {"path": "mine.csv", "lookback": 24, "horizon": 6}
    recipe["model"]["init_args"]["net"]["init_args"] |= {"dim": 8, "heads": 2}
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    code, _, error = run("fit", "-c", "mine.yaml", "--trainer.max_epochs", "1", "--no_report")
    assert code == 0, error
    words = ("--ckpt_path", "best", "-c", "mine.yaml")
    code, _, error = run("predict", *words, "--out", "next.csv")
    assert code == 0, error
    refused(
        run("predict", *words, "-c", "other.yaml", "--out", "x.csv"),
        "there is no configuration file other.yaml",
    )
    Path("other.yaml").write_text(
        "model: {class_path: series, init_args: {net: {class_path: dlinear}}}\n"
    )
    refused(
        run("predict", *words, "-c", "other.yaml", "--out", "x.csv"),
        "model.net.class_path is 'surform.forecasting.itransformer.ITransformer' in the checkpoint",
    )


@pytest.mark.parametrize("fused", ["false", "true"])
def test_mixed_precision_goes_with_clipped_gradients(run: Run, fused: str) -> None:
    words = ("--trainer.precision", "bf16-mixed", "--model.optimizer.fused", fused)
    code, _, error = run("fit", *OWN, *words, "--out", "r", "--no_report")
    assert code == 0, error


def test_the_paper_protocol_stops_early_on_the_same_figure(run: Run) -> None:
    words = ("--data.protocol", "paper", "--data.drop_last_test", "32")
    code, _, error = run("fit", *OWN, *words, "--out", "r")
    assert code == 0, error
    summary = json.loads(Path("r/summary.json").read_text())
    assert summary["protocol"] == "clean"
    assert set(summary["metrics"]) >= {"validation/mse/clean", "validation/mae/clean"}
    assert surform.load_model("r/model").protocols["validation/mse"] == "clean"
    code, out, _ = run("test", "--ckpt_path", "r")
    assert code == 0
    assert {line.split()[-1] for line in out.splitlines()} == {"paper"}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--data.split", "{train: 0.6, test: 0.2}"),
            "EarlyStopping watches 'validation/mse/clean', but the data have no validation split",
        ),
        (
            ("--model.metrics", "[mae]", "--model.monitor", "mae"),
            "'validation/mse/clean', which is not logged: choose validation/mae/clean",
        ),
    ],
)
def test_what_callbacks_watch_must_be_there(run: Run, words: tuple[str, ...], message: str) -> None:
    refused(run("fit", *OWN, *words, "--out", "never"), message)
    assert not Path("never").exists()


def test_training_needs_no_validation(run: Run) -> None:
    words = ("--data.split", "{train: 0.6, test: 0.2}", "--trainer.callbacks", "null")
    code, _, error = run("fit", *OWN, *words, "--out", "r")
    assert code == 0, error


def test_a_model_without_quantiles_says_so(run: Run) -> None:
    write(Path("mine.csv"), frame(100))
    code, out, error = run("fit", *OWN, "--data.split", "ratio", "--out", "r")
    assert code == 0, error
    said = "The model gives no quantiles: of the 39 validation windows"
    assert said in out
    page = Path("r/report.html").read_text()
    assert said in page
    assert "that it takes to learn them, the data have " in out
    assert "shaded" not in page
    code, out, error = run("predict", "--ckpt_path", "r", "--out", "next.csv")
    assert code == 0, error
    assert out.startswith("The forecast has no quantiles")
    assert "a_q0.05" not in pd.read_csv("next.csv").columns


def test_the_report_shows_the_intervals(run: Run) -> None:
    write(Path("mine.csv"), frame(500))
    code, out, error = run("fit", *OWN, "--out", "r")
    assert code == 0, error
    assert "quantiles" not in out
    assert "shaded: 90 % intervals" in Path("r/report.html").read_text()


def test_several_series_are_forecast_from_one_table(run: Run) -> None:
    write(Path("mine.csv"), panel(north=240, south=200))
    code, _, error = run("fit", *OWN, "--data.id", "shop", "--out", "r", "--no_report")
    assert code == 0, error
    code, _, error = run("predict", "--ckpt_path", "r", "--out", "next.csv")
    assert code == 0, error
    found = pd.read_csv("next.csv")
    assert found.groupby("shop")["date"].first().to_dict() == {
        "north": "2024-01-11 00:00:00",
        "south": "2024-01-09 08:00:00",
    }


def test_validate_and_test_print_labelled_figures(run: Run, trained: Path) -> None:
    figures = {}
    for command in ("validate", "test"):
        code, out, error = run(command, "--ckpt_path", "r")
        assert code == 0, error
        rows = [line.split() for line in out.splitlines()]
        assert {row[-1] for row in rows} == {"clean"}
        figures |= {row[0]: float(row[1]) for row in rows}
    assert {"validation/mse", "validation/mae", "test/mse", "test/mae"} <= set(figures)
    stored = json.loads((trained / "summary.json").read_text())["metrics"]
    assert figures["validation/mse"] == pytest.approx(stored["validation/mse/clean"], rel=1e-4)


def test_rows_that_were_trained_on_are_not_evaluated_unawares(run: Run, trained: Path) -> None:
    other = ("--data.split", "{train: 0.1, validation: 0.1, test: 0.8}")
    for command in ("validate", "test"):
        refused(
            run(command, "--ckpt_path", "r", *other),
            "data.split is 'ratio' in the run but {'train': 0.1, 'validation': 0.1, 'test': 0.8}",
        )
        assert not (trained / f"{command}.json").exists()
        code, _, error = run(command, "--ckpt_path", "r", "--data.split", "ratio")
        assert code == 0, error
        assert "remark" not in json.loads((trained / f"{command}.json").read_text())
        code, out, error = run(command, "--ckpt_path", "r", *other, "--override")
        assert code == 0, error
        said = "The split is not that of training"
        assert out.splitlines()[-1].startswith(said)
        assert json.loads((trained / f"{command}.json").read_text())["remark"].startswith(said)


def test_a_resumed_run_ends_bit_for_bit_where_a_whole_one_does(run: Run, trained: Path) -> None:
    code, _, error = run("fit", *OWN, "--trainer.max_epochs", "3", "--out", "whole", "--no_report")
    assert code == 0, error
    words = ("--ckpt_path", "last", "--trainer.max_epochs", "3", "--override", "--no_report")
    code, _, error = run("fit", *words, "--out", "r")
    assert code == 0, error
    # the cosine knows the new end only from now on: the weights part, the order of batches does not
    constant = ("--model.schedule", "constant")
    for folder, epochs in (("a", "3"), ("b", "2")):
        code, _, error = run(
            "fit", *OWN, *constant, "--trainer.max_epochs", epochs, "--out", folder, "--no_report"
        )
        assert code == 0, error
    code, _, error = run("fit", *words, "--out", "b")
    assert code == 0, error
    one, two = (read_checkpoint(Path(n) / "checkpoints" / "last.ckpt") for n in ("a", "b"))
    assert one["global_step"] == two["global_step"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name


def test_info_describes_tables_runs_checkpoints_and_models(run: Run, trained: Path) -> None:
    _, out, _ = run("info", "mine.csv")
    assert "240 rows" in out
    assert "2024-01-01 00:00:00 to 2024-01-10 23:00:00" in out
    _, out, _ = run("info", "r")
    assert "validation/mse/clean" in out
    assert "mse_by_step" not in out
    _, out, _ = run("info", "r/checkpoints/best.ckpt")
    assert "windows: 24 steps in, 6 steps out" in out
    _, out, _ = run("info", "r/model")
    assert "Forecasts the next 6 steps of 1h of a, b, c" in out


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "mine.csv"), "mine.csv would replace the data it is made from"),
        (("--out", "next.txt"), "forecasts are written to one of .csv, .parquet, .nc, .zarr"),
        (("--out", "x.csv", "--data.pth", "a"), "no option --data.pth: did you mean --data.path"),
        (
            ("--out", "x.csv", "--trainer.devices", "2"),
            "--trainer: r/checkpoints/best.ckpt is used",
        ),
        (("--out", "x.csv", "--data.path", "absent.csv"), "absent.csv"),
        ((), "predict needs a file to write to: --out FILE"),
    ],
)
def test_what_predict_cannot_do_is_told_in_one_sentence(
    run: Run, trained: Path, words: tuple[str, ...], message: str
) -> None:
    before = Path("mine.csv").read_bytes()
    refused(run("predict", "--ckpt_path", "r", *words), message)
    assert Path("mine.csv").read_bytes() == before
    assert not Path("x.csv").exists()


@pytest.mark.fault
def test_a_forecaster_does_not_roll_out(run: Run, trained: Path) -> None:
    refused(run("rollout", "r", "--data", "mine.csv", "--steps", "3"), "does not step fields")


@pytest.mark.fault
def test_the_advice_for_rows_without_times_works_as_it_is_typed(run: Run) -> None:
    frame().drop(columns="date").to_csv("plain.csv", index=False)
    words = ("fit", *OWN, "--data.path", "plain.csv", "--print_config")
    advice = "--data.step '' --data.marks false"
    refused(run(*words), advice)
    refused(run(*words, "--data.step", ""), "choose marks: false (--data.marks false)")
    for marks in ("false", "null"):
        code, out, error = run(*words, "--data.step", "", "--data.marks", marks)
        assert code == 0, error
        assert yaml.safe_load(out)["data"]["init_args"]["step"] == ""


def test_a_recipe_without_a_table_asks_for_one(run: Run) -> None:
    refused(run("fit", "--config", "forecasting/own-csv"), "needs the option path: --data.path")


@pytest.mark.fault
def test_a_table_that_is_too_short_says_what_it_would_take(run: Run) -> None:
    write(Path("mine.csv"), frame(50))
    refused(
        run("fit", *OWN, "--out", "never"), "too few for a window of 30 (lookback 24 + horizon 6"
    )
    assert not Path("never").exists()


@pytest.mark.parametrize("name", ["forecasting/quickstart", "forecasting/own-csv"])
def test_the_recipes_are_valid_and_say_what_they_are(name: str) -> None:
    config = read_config(name)
    text = find_recipe(name).read_text()
    assert f"# Command: surform fit --config {name}" in text
    assert "# Reaches:" in text
    config["data"]["init_args"].setdefault("path", "mine.csv")
    check_names(config)


@pytest.mark.slow
def test_the_quickstart_makes_its_data_and_learns(run: Run) -> None:
    words = ("--trainer.max_epochs", "1", "--data.batch_size", "128")
    code, _, error = run("fit", "--config", "forecasting/quickstart", *words, "--out", "q")
    assert code == 0, error
    with Path("data/loads.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["time", "centre", "north", "south", "temperature"]
    assert len(rows) == 8761
    assert rows[1][0] == "2023-01-01 00:00:00"
    figures = json.loads(Path("q/summary.json").read_text())["metrics"]
    assert figures["validation/mse/clean"] < 0.3
