"""Rolling-origin backtests: folds, scores by definition, the command as a user types it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from surform.cli.main import main
from surform.data.series_module import SeriesData
from surform.forecasting.backtest import run_backtest
from surform.forecasting.contestants import closed_form_baselines
from surform.forecasting.rolling import rolling_folds

SPLIT = {"train": (0, 600), "validation": (600, 700), "test": (700, 860)}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two noisy daily cycles, hourly, 900 rows; the last 40 belong to no split."""
    rng = np.random.default_rng(0)
    hours = np.arange(900)
    wave = np.stack([np.sin(2 * np.pi * hours / 24), 5 + 3 * np.cos(2 * np.pi * hours / 24)], 1)
    values = wave + 0.2 * rng.standard_normal(wave.shape)
    times = np.datetime64("2020-01-01T00", "h") + hours
    path = tmp_path_factory.mktemp("series") / "waves.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "a", "b"])
        for time, row in zip(times, values, strict=True):
            writer.writerow([str(time).replace("T", " ") + ":00:00", *row])
    return path


def data(table, **changes):
    split = {"train": 600, "validation": 100, "test": 160}
    values = {"path": str(table), "lookback": 48, "horizon": 12, "split": split}
    return SeriesData(**(values | changes))


def folds(window="expanding", count=2):
    return rolling_folds([900], [SPLIT], count, 12, window)


def test_folds_tile_the_test_split_and_never_look_ahead(table):
    for window, train in (("expanding", 0), ("sliding", 600)):
        found = folds(window)
        assert [f.origin for f in found] == [200, 120]
        assert [f.test for f in found] == [80, 80]
        assert [f.train for f in found] == [train, train]
    rows = data(table, split=folds()[1].split).split_rows()[0]
    assert rows == {"train": (0, 680), "validation": (680, 780), "test": (780, 860)}
    rows = data(table, split=folds("sliding")[1].split).split_rows()[0]
    assert rows["train"] == (80, 680)


def test_one_fold_scores_the_test_split_as_published_figures_do(table):
    fold = folds(count=1)
    found = run_backtest(
        fold,
        lambda f: data(table, split=f.split),
        lambda f, d: closed_form_baselines(d, 24),
        season=24,
    )
    means = {name: scores.means() for name, scores in found.pooled().items()}
    assert list(means) == ["naive", "seasonal naive", "ridge"]
    assert means["ridge"]["mse"] < means["seasonal naive"]["mse"] < means["naive"]["mse"]
    # against the rows themselves
    whole = data(table)
    values = whole.table.values
    std = values[:600].std(0)
    errors, scaled = [], []
    scale = np.abs(values[24:600] - values[: 600 - 24]).mean(0)
    for start in range(700, 860 - 12 + 1):
        error = values[start : start + 12] - values[start - 24 : start - 12]
        errors.append((error / std) ** 2)
        scaled.append(np.abs(error) / scale)
    assert means["seasonal naive"]["mse"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert means["seasonal naive"]["mase"] == pytest.approx(np.mean(scaled), rel=1e-5)
    for figures in means.values():
        assert 0.8 < figures["coverage_90"] <= 1
    assert found.folds[0].first == "2020-01-30 04:00"
    assert found.folds[0].last == "2020-02-05 19:00"


def test_pooled_scores_weigh_every_window_alike(table):
    found = run_backtest(
        folds(),
        lambda f: data(table, split=f.split),
        lambda f, d: closed_form_baselines(d, 24),
        season=24,
        stride=5,
    )
    parts = [fold.scores["naive"] for fold in found.folds]
    windows = [part.windows for part in parts]
    assert windows == [14, 14]
    expected = sum(p.means()["mse"] * w for p, w in zip(parts, windows, strict=True)) / 28
    assert found.pooled()["naive"].means()["mse"] == pytest.approx(expected)
    rows = found.table()
    assert [row["fold"] for row in rows] == [1] * 3 + [2] * 3 + ["all"] * 3


RECIPE = """
seed_everything: 1
model:
  class_path: series
  init_args:
    net: {class_path: dlinear, init_args: {lookback: 48, horizon: 12}}
    optimizer: {class_path: Adam, init_args: {lr: 1e-2}}
data:
  class_path: series
  init_args: {path: PATH, lookback: 48, horizon: 12, split: SPLIT}
trainer: {max_epochs: 2, accelerator: cpu}
"""


@pytest.mark.parametrize("refit", [False, True])
def test_the_command_trains_scores_and_reports(table, tmp_path, monkeypatch, capsys, refit):
    monkeypatch.chdir(tmp_path)
    split = "{train: 600, validation: 100, test: 160}"
    text = RECIPE.replace("PATH", str(table)).replace("SPLIT", split)
    (tmp_path / "own.yaml").write_text(text)
    words = ["backtest", "--config", "own.yaml", "--folds", "2", "--no-dlinear", "--out", "bt"]
    assert main([*words, *(["--refit"] if refit else [])]) == 0
    assert "report: bt/report.html" in capsys.readouterr().out
    found = json.loads((tmp_path / "bt" / "backtest.json").read_text())
    pooled = {row["model"]: row for row in found["scores"] if row["fold"] == "all"}
    assert list(pooled) == ["DLinear", "naive", "seasonal naive", "ridge"]
    assert pooled["DLinear"]["mse"] < pooled["naive"]["mse"]
    with open(tmp_path / "bt" / "backtest.csv") as file:
        assert len(list(csv.DictReader(file))) == len(found["scores"]) == 12
    page = (tmp_path / "bt" / "report.html").read_text()
    assert "Calibration" in page
    trained = sorted(path.parent.name for path in (tmp_path / "bt").glob("fold-*/model"))
    assert trained == (["fold-1", "fold-2"] if refit else ["fold-1"])


def test_a_finished_run_is_backtested_as_it_is(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = "{train: 600, validation: 100, test: 160}"
    text = RECIPE.replace("PATH", str(table)).replace("SPLIT", split)
    (tmp_path / "own.yaml").write_text(text)
    assert main(["fit", "--config", "own.yaml", "--out", "run", "--no_report"]) == 0
    assert main(["test", "--ckpt_path", "best", "--out", "run"]) == 0
    words = ["--ckpt_path", "run", "--folds", "1", "--no-dlinear", "--out", "bt"]
    assert main(["backtest", *words]) == 0
    assert not list((tmp_path / "bt").glob("fold-*"))
    found = json.loads((tmp_path / "bt" / "backtest.json").read_text())["scores"]
    tested = json.loads((tmp_path / "run" / "test.json").read_text())
    assert found[0]["mse"] == pytest.approx(tested["test/mse/clean"], rel=1e-5)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "either --config"),
        (["--config", "own.yaml", "--folds", "99"], "room for 1 to 13 folds"),
        (["--config", "own.yaml", "--stride", "0"], "at least 1"),
        (["--config", "own.yaml", "--data.protocol", "paper", "--data.drop_last_test", "8"],
         "counts every window"),
        (["--config", "operators/quickstart"], "needs series data"),
    ],
)  # fmt: skip
def test_what_cannot_be_backtested(table, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    split = "{train: 600, validation: 100, test: 160}"
    text = RECIPE.replace("PATH", str(table)).replace("SPLIT", split)
    (tmp_path / "own.yaml").write_text(text)
    assert main(["backtest", *words, "--out", "bt"]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "bt").exists()


@pytest.mark.fault
def test_folds_need_all_three_splits():
    with pytest.raises(ValueError, match="needs a validation split"):
        rolling_folds([900], [{"train": (0, 1), "test": (1, 2)}], 1, 1)
    with pytest.raises(ValueError, match="window must be"):
        folds("shrinking")
