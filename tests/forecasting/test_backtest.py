"""Rolling-origin backtests: folds, scores by definition, the command as a user types it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from surform.cli.main import main
from surform.data.series_module import SeriesData
from surform.forecasting import backtest_report
from surform.forecasting.backtest import run_backtest
from surform.forecasting.contestants import closed_form_baselines
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.rolling import rolling_folds
from surform.reports import format_value
from surform.reports.plots import curves
from tests.forecasting.toys import Plain

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
        assert [f.split["origin"] for f in found] == [200, 120]
        assert [f.split["test"] for f in found] == [80, 80]
        assert [f.split["train"] for f in found] == [train, train]
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


def test_one_gap_does_not_take_a_series_out_of_the_scale_of_mase(table, tmp_path):
    lines = table.read_text().splitlines()
    lines[101] = lines[101].partition(",")[0] + ",,"
    path = tmp_path / "gap.csv"
    path.write_text("\n".join(lines) + "\n")
    found = run_backtest(
        folds(count=1),
        lambda f: data(path, split=f.split, gaps="split"),
        lambda f, d: closed_form_baselines(d, 24),
        season=24,
    )
    values = data(table).table.values[:600].astype(float)
    values[100] = np.nan
    expected = np.nanmean(np.abs(values[24:] - values[:-24]), 0)
    np.testing.assert_allclose(found.folds[0].scores["naive"].scale[0], expected, rtol=1e-6)


def test_too_few_validation_windows_for_intervals_are_said(table):
    split = {"train": 600, "validation": 49, "test": 160}
    rows = {"train": (0, 600), "validation": (600, 649), "test": (649, 809)}
    for count, said in ((1, True), (0, False)):
        split["validation"], rows["validation"] = 49 + 1 - count, (600, 650 - count)
        found = run_backtest(
            rolling_folds([900], [rows], 1, 12),
            lambda f: data(table, split=f.split),
            lambda f, d: closed_form_baselines(d, 24),
            season=24,
            stride=10,
        )
        assert ("38 validation windows are too few" in found.without_intervals()) == said
        assert ("crps" in found.pooled()["naive"].means()) != said


def test_models_are_scored_in_evaluation_mode(table):
    torch.manual_seed(0)
    net = Plain(48, 12, dropout=0.9)

    def entrants(fold, found):
        model = Forecaster(net)
        model.fit_to(found.description(), found.normalizers()[0])
        return {"plain": model.train()}

    def mse():
        found = run_backtest(
            folds(count=1), lambda f: data(table, split=f.split), entrants, season=24, stride=20
        )
        return found.pooled()["plain"].means()["mse"]

    assert mse() == mse()
    assert not net.training


def test_every_contestant_keeps_its_color_in_all_figures(table, tmp_path, monkeypatch):
    found = run_backtest(
        folds(count=1),
        lambda f: data(table, split=f.split),
        lambda f, d: closed_form_baselines(d, 24),
        season=24,
        stride=10,
    )
    drawn = []

    def spy(lines, **options):
        drawn.append((options, curves(lines, **options)))
        return drawn[-1][1]

    monkeypatch.setattr(backtest_report, "curves", spy)
    page = tmp_path / "report.html"
    about = data(table).description()
    backtest_report.write_backtest_report(page, found, about, title="waves", how={})
    assert [options["ylabel"].split()[0] for options, _ in drawn] == [
        "MSE,", "CRPS,", "coverage", "share"
    ]  # fmt: skip
    lines = [line for _, figure in drawn for line in figure.axes[0].lines]
    colors = {(line.get_label(), line.get_color()) for line in lines}
    assert len(colors) == len({name for name, _ in colors}) == 4
    ideal = [line for line in lines if line.get_label() == "ideal"]
    assert [line.get_linestyle() for line in ideal] == ["--", "--"]
    assert ideal[0].get_ydata()[0] == 0.9
    # naive errs by far the most: on a linear axis the others would be one line
    assert [figure.axes[0].get_yscale() for _, figure in drawn] == [
        "log", "log", "linear", "linear"
    ]  # fmt: skip
    text = page.read_text()
    for name in ("mse", "crps", "coverage_90"):
        value = found.pooled()["ridge"].by_target()[name][1]
        assert format_value(value) in text


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


def ridge_by_fold(table, refit):
    """MSE of ridge regression, fitted on the first fold or on each."""
    kept = {}

    def entrants(fold, found):
        if refit or not kept:
            kept.update(closed_form_baselines(found, 24))
        return dict(kept)

    found = run_backtest(folds(), lambda f: data(table, split=f.split), entrants, season=24)
    return [fold.scores["ridge"].means()["mse"] for fold in found.folds]


@pytest.mark.parametrize("refit", [False, True])
def test_the_command_trains_scores_and_reports(table, tmp_path, monkeypatch, capsys, refit):
    monkeypatch.chdir(tmp_path)
    split = "{train: 600, validation: 100, test: 160}"
    text = RECIPE.replace("PATH", str(table)).replace("SPLIT", split)
    (tmp_path / "own.yaml").write_text(text)
    words = ["backtest", "--config", "own.yaml", "--folds", "2", "--out", "bt"]
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
    errors = []
    for fold in (1, 2):
        rows = [r for r in found["scores"] if r["fold"] == fold and r["model"] == "ridge"]
        errors.append(rows[0]["mse"])
    assert errors == pytest.approx(ridge_by_fold(table, refit))
    trained = sorted(path.parent.name for path in (tmp_path / "bt").glob("fold-*/model"))
    assert trained == (["fold-1", "fold-2"] if refit else ["fold-1"])
    assert not list((tmp_path / "bt").glob("fold-*/dlinear"))  # the model is one already


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


def test_dlinear_stands_beside_a_model_with_covariates(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    lines = table.read_text().splitlines()
    lines = [f"{line},{rng.random():.3f},3" for line in lines]
    lines[0] = "date,a,b,price,area"
    lines += [f"2020-02-07 {hour:02d}:00:00,,,0.5,3" for hour in range(12, 24)]
    (tmp_path / "more.csv").write_text("\n".join(lines) + "\n")
    text = RECIPE.replace("PATH", "more.csv")
    text = text.replace("SPLIT", "{train: 600, validation: 100, test: 160}")
    text = text.replace("dlinear, init_args: {", "tests.forecasting.toys.Plain, init_args: {")
    text = text.replace("horizon: 12, split", "horizon: 12, known: [price], static: [area], split")
    (tmp_path / "own.yaml").write_text(text)
    assert main(["fit", "-c", "own.yaml", "--trainer.max_epochs", "1", "--out", "run"]) == 0
    words = ["--model.net", "tests.forecasting.toys.Plain", "--folds", "1", "--stride", "20"]
    code = main(["backtest", "--ckpt_path", "run", *words, "--out", "bt"])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "DLinear, fold 1:" in said.err
    found = json.loads((tmp_path / "bt" / "backtest.json").read_text())["scores"]
    names = ["Plain", "naive", "seasonal naive", "ridge", "DLinear"]
    assert [row["model"] for row in found] == names * 2


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


@pytest.fixture
def finished(table, tmp_path, monkeypatch, capsys):
    """A run in "run"; returns what the command says to options."""
    monkeypatch.chdir(tmp_path)
    text = RECIPE.replace("PATH", str(table))
    text = text.replace("SPLIT", "{train: 600, validation: 100, test: 160}")
    (tmp_path / "own.yaml").write_text(text)
    assert main(["fit", "--config", "own.yaml", "--out", "run", "--no_report"]) == 0

    def backtest(*words):
        capsys.readouterr()
        code = main(["backtest", "--ckpt_path", "run", "--no-dlinear", "--out", "bt", *words])
        return code, capsys.readouterr().err

    return backtest


@pytest.mark.fault
def test_a_finished_run_is_not_asked_for_what_it_was_not(finished, tmp_path, table):
    narrow = tmp_path / "narrow.csv"
    rows = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    narrow.write_text("\n".join(rows) + "\n")
    for words, sentence in (
        (["--data.targets", "[a]"], "trained with targets a, b, "),
        (["--data.marks", "true"], "trained with marks none, "),
        (["--data.horizon", "6"], "trained with horizon 12, "),
        (["--data.path", str(narrow)], "trained with variates a, b, "),
        (["--model.net.kernel_size", "7"], "model.net.kernel_size is 25 in the run but 7 on"),
        (["--model.loss", "mae"], "as it is: leave it out, or add --refit"),
        (["--trainer.max_epochs", "9"], "trainer.max_epochs is 2 in the run but 9 on"),
        (["--data.split", "{train: 0.8, validation: 0.1, test: 0.1}"], "data.split is {'train': 6"),
        (["--data.split.test", "100"], "data.split is {'train': 600"),
        (["--data.dtype", "float64"], "data.dtype is 'float32' in the run but"),
    ):
        code, error = finished(*words)
        assert code == 2, words
        assert sentence in error
        assert len(error.splitlines()) == 1
    assert not (tmp_path / "bt").exists()


def test_what_was_so_in_the_run_may_be_said_again(finished, table):
    words = [
        "--trainer.max_epochs",
        "2",
        "--data.path",
        str(table),
        "--model.net.kernel_size",
        "25",
    ]
    code, error = finished(*words, "--data.eval_batch_size", "8", "--folds", "1", "--stride", "40")
    assert code == 0, error


def scores_of(folder):
    found = json.loads((folder / "backtest.json").read_text())["scores"]
    return {row["model"]: row["mse"] for row in found if row["fold"] == "all"}


def test_saved_models_and_ensembles_are_backtested_on_the_data_of_a_recipe(finished, tmp_path):
    few = ["--folds", "1", "--stride", "20", "--no-dlinear"]
    assert finished(*few, "--out", "of-run")[0] == 0
    words = ["--ckpt_path", "run/model", "--config", "own.yaml", *few]
    assert main(["backtest", *words, "--out", "of-model"]) == 0
    assert scores_of(tmp_path / "of-model") == scores_of(tmp_path / "of-run")
    words = ["fit", "--config", "own.yaml", "--seed_everything", "2", "--no_report", "--out", "two"]
    assert main(words) == 0
    assert main(["ensemble", "run", "two", "--out", "both"]) == 0
    words = ["--ckpt_path", "both", "--config", "own.yaml", *few]
    assert main(["backtest", *words, "--out", "of-both"]) == 0
    found = scores_of(tmp_path / "of-both")
    assert list(found) == ["2 x DLinear", "naive", "seasonal naive", "ridge"]
    assert found["2 x DLinear"] != scores_of(tmp_path / "of-run")["DLinear"]


def test_a_saved_model_takes_its_own_windows_not_those_of_the_recipe(finished, tmp_path):
    few = ["--folds", "1", "--stride", "20", "--no-dlinear"]
    own = (tmp_path / "own.yaml").read_text()
    assert finished(*few, "--out", "of-run")[0] == 0
    other, none = own.replace("lookback: 48", "lookback: 96"), own.replace("lookback: 48, ", "")
    none = none.replace("horizon: 12, split", "split")
    assert ("lookback: 96" in other, "lookback" in none.split("data:")[1]) == (True, False)
    for name, text in {"other": other, "none": none}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        words = ["--ckpt_path", "run/model", "--config", f"{name}.yaml", *few]
        assert main(["backtest", *words, "--out", f"of-{name}"]) == 0
        assert scores_of(tmp_path / f"of-{name}") == scores_of(tmp_path / "of-run")


@pytest.mark.fault
def test_a_saved_model_needs_data_that_suit_it(finished, tmp_path):
    data = ("--config", "own.yaml")
    for words, sentence in (
        ((), "without the data of its training: give --config"),
        ((*data, "--refit"), "and no --refit"),
        ((*data, "--model.net.kernel_size", "7"), "--model: run/model is backtested as it is"),
        ((*data, "--data.horizon", "6"), "trained with horizon 12, "),
        ((*data, "--data.horizon", "6"), "data.horizon has 6: give --data.lookback 48 --data.h"),
        ((*data, "--data.normalize", "series"), "trained with data.normalize: train, "),
    ):
        code, error = finished("--ckpt_path", "run/model", *words)
        assert code == 2
        assert sentence in error
    assert not (tmp_path / "bt").exists()


@pytest.mark.fault
def test_options_and_the_folder_are_checked_before_any_work(finished, tmp_path):
    code, error = finished("--fold", "2")
    assert code == 2
    assert "unknown option --fold: did you mean --folds?" in error
    code, error = finished("--dta.path", "x")
    assert code == 2
    assert "unknown option --dta.path: did you mean --data" in error
    for name in ("own.yaml", "own.yaml/deeper"):
        code, error = finished("--out", name)
        assert code == 2
        assert f"--out {name}: own.yaml is a file" in error


@pytest.mark.fault
def test_folds_need_all_three_splits():
    with pytest.raises(ValueError, match="needs a validation split"):
        rolling_folds([900], [{"train": (0, 1), "test": (1, 2)}], 1, 1)
    with pytest.raises(ValueError, match="window must be"):
        folds("shrinking")
