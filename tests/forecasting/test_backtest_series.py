"""Backtests of several series: common dates, a scale for each, rows for each, all forecasts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from surform.cli.main import main
from surform.data.series_module import SeriesData
from surform.data.series_splits import split_rows
from surform.forecasting.backtest import Forecasts, run_backtest
from surform.forecasting.contestants import closed_form_baselines
from surform.forecasting.forecast_table import forecast_rows, forecast_table
from surform.forecasting.rolling import rolling_folds
from tests.forecasting.tables import frame

LOOKBACK, HORIZON, SEASON = 24, 6, 12


def shops() -> pd.DataFrame:
    """A small series, a large one that ends earlier, and one that begins late."""
    small = frame(600, seed=0)[["date", "a"]].assign(shop="small")
    large = frame(500, seed=1)[["date", "a"]].assign(shop="large")
    large["a"] *= 1000
    late = frame(200, "2024-01-17", seed=2)[["date", "a"]].assign(shop="late")
    return pd.concat([small, large, late], ignore_index=True)


SPLIT = {"train": "2024-01-14", "validation": "2024-01-18", "test": "2024-01-26"}


def data(split: Any = "ratio", **options: Any) -> SeriesData:
    return SeriesData(shops(), LOOKBACK, HORIZON, split=split, id="shop", **options)


def folds(source: SeriesData, count: int = 2, window: str = "expanding") -> list[Any]:
    spans, times = source.table.spans, source.table.times
    assert times is not None
    pieces = [times[span.start : span.stop] for span in spans]
    rows = [span.rows for span in spans]
    return rolling_folds(rows, source.split_rows(), count, HORIZON, window, pieces)


def parts(split: Any) -> dict[str, list[np.ndarray]]:
    """Times of the rows of each split, series by series."""
    source = data(split)
    table = source.table
    assert table.times is not None
    found: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for span, rows in zip(table.spans, source.split_rows(), strict=True):
        for name, (first, end) in rows.items():
            found[name].append(table.times[span.start + first : span.start + end])
    return found


@pytest.mark.parametrize("window", ["expanding", "sliding"])
@pytest.mark.parametrize("split", ["ratio", SPLIT])
def test_no_fold_trains_on_what_is_later_than_what_it_forecasts(split: Any, window: str) -> None:
    whole = parts(split)
    settled = max(times[-1] for times in whole["validation"] if len(times))
    ends, widths = [], []
    for fold in folds(data(split), 2, window):
        found = parts(fold.split)
        train, validation, test = (
            np.concatenate(found[n]) for n in ("train", "validation", "test")
        )
        assert train.max() < validation.min()
        assert validation.max() < test.min()
        assert test.min() > settled  # of a model that is used as it is, too
        ends.append((test.min(), test.max()))
        widths.append(train.max() - train.min())
    assert ends[1][0] == ends[0][1] + np.timedelta64(1, "h")  # folds follow one another
    assert ends[1][1] == max(times[-1] for times in whole["test"] if len(times))
    grown = ends[1][0] - ends[0][0]
    assert widths[1] - widths[0] == (grown if window == "expanding" else np.timedelta64(0))


@pytest.mark.parametrize("window", ["expanding", "sliding"])
def test_training_begins_where_the_split_says(window: str) -> None:
    start = np.datetime64("2024-01-05")
    gone = frame(48, seed=3)[["date", "a"]].assign(shop="gone")  # ends before the start
    split = {"start": str(start)} | SPLIT
    source = SeriesData(pd.concat([shops(), gone]), LOOKBACK, HORIZON, split=split, id="shop")
    for fold in folds(source, 2, window):
        first = min(times[0] for times in parts(fold.split)["train"] if len(times))
        begun = folds(source, 2)[fold.number - 1].split["validation"]
        moved = np.datetime64(begun) - np.datetime64(folds(source, 2)[0].split["validation"])
        assert first == start + (moved if window == "sliding" else 0)
    rows = {"train": (100, 500), "validation": (500, 600), "test": (600, 900)}
    for fold in rolling_folds([900], [rows], 3, HORIZON, window):
        first, end = split_rows(fold.split, 900, "a")["train"]
        moved = 100 * (fold.number - 1)
        assert (first, end) == (100 + moved * (window == "sliding"), 500 + moved)


@pytest.mark.fault
def test_a_part_without_rows_is_named() -> None:
    split = {"train": "2023-01-01", "validation": "2024-01-18", "test": "2024-01-26"}
    with pytest.raises(ValueError, match=r"a backtest needs train rows: data\.split leaves none"):
        folds(data(split))


def test_equal_series_are_cut_where_their_rows_are() -> None:
    both = pd.concat([frame(600, seed=k)[["date", "a"]].assign(shop=k) for k in (0, 1)])
    source = SeriesData(both, LOOKBACK, HORIZON, id="shop")
    by_date = folds(source, 3)
    by_row = rolling_folds([600, 600], source.split_rows(), 3, HORIZON)
    for one, other in zip(by_date, by_row, strict=True):
        splits = [
            SeriesData(both, LOOKBACK, HORIZON, id="shop", split=fold.split).split_rows()
            for fold in (one, other)
        ]
        assert splits[0] == splits[1]


def backtest(split: Any = SPLIT, **options: Any) -> Any:
    source = data(split)
    return run_backtest(
        folds(source),
        lambda fold: data(fold.split),
        lambda fold, found: closed_form_baselines(found, SEASON),
        season=SEASON,
        **options,
    )


def test_each_series_has_its_own_scale_and_its_own_row() -> None:
    kept: list[Forecasts] = []
    found = backtest(keep=kept.append)
    assert found.series == ("small", "large", "late")
    assert found.without_windows() == []
    rows = {(row["series"], row["model"]): row for row in found.series_table()}
    assert len(rows) == 9
    table = shops().set_index("shop")
    for series in ("small", "large"):
        values = table.loc[series].set_index("date")["a"]
        errors, scaled, deviation = [], [], 0.0
        for fold in (1, 2):
            split = folds(data(SPLIT))[fold - 1].split
            train = values[values.index < split["train"]]
            deviation = deviation or train.std(ddof=0)  # of the first fold
            scale = train.diff(SEASON).abs().mean()
            test = values[(values.index >= split["validation"]) & (values.index < split["test"])]
            for start in range(len(test) - HORIZON + 1):
                target = test.iloc[start : start + HORIZON]
                before = values[values.index < target.index[0]].iloc[-SEASON:][:HORIZON]
                error = target.to_numpy() - before.to_numpy()
                errors.append((error / deviation) ** 2)
                scaled.append(np.abs(error) / scale)
        row = rows[series, "seasonal naive"]
        assert row["windows"] == len(errors)
        assert row["mse"] == pytest.approx(np.mean(errors), rel=1e-4)
        assert row["mase"] == pytest.approx(np.mean(scaled), rel=1e-4)
        # intervals of small and large series are equally honest, and as wide as their errors
        assert 0.8 < row["coverage_90"] < 0.97
    assert rows["small", "ridge"]["width_90"] == pytest.approx(
        rows["large", "ridge"]["width_90"], rel=0.25
    )
    # it has no training rows: what is known before the origin stands for them
    assert 0.1 < rows["late", "ridge"]["mse"] < rows["late", "naive"]["mse"] < 10
    assert rows["late", "seasonal naive"]["mase"] == pytest.approx(1, abs=0.2)
    windows = {series: rows[series, "naive"]["windows"] for series in found.series}
    mean = sum(rows[s, "naive"]["mse"] * n for s, n in windows.items()) / sum(windows.values())
    assert found.pooled()["naive"].means()["mse"] == pytest.approx(mean)
    assert sum(len(f.output) for f in kept if f.model == "naive") == sum(windows.values())


def test_rows_of_forecasts_name_origin_time_and_truth() -> None:
    kept: list[Forecasts] = []
    backtest(stride=7, batch_size=5, keep=kept.append)
    forecasts = next(f for f in kept if f.model == "seasonal naive" and f.quantiles is not None)
    rows = pd.DataFrame(forecast_rows(forecasts, ["a"], (0.05, 0.2, 0.5)))
    assert rows.columns.tolist() == [
        "fold", "model", "series", "origin", "step", "time", "variate", "value", "truth",
        "q0.05", "q0.2", "q0.5",
    ]  # fmt: skip
    assert (rows["time"] - rows["origin"] == pd.to_timedelta(rows["step"], "h")).all()
    values = shops().set_index(["shop", "date"])["a"]
    truth = values.loc[list(zip(rows["series"], rows["time"], strict=True))].to_numpy()
    np.testing.assert_allclose(rows["truth"], truth, rtol=1e-6)
    season = rows["time"] - pd.Timedelta(hours=SEASON)
    earlier = values.loc[list(zip(rows["series"], season, strict=True))].to_numpy()
    np.testing.assert_allclose(rows["value"], earlier, rtol=1e-4)  # standardised in float32
    assert rows["q0.2"].isna().all()
    assert (rows["q0.05"] < rows["q0.5"]).all()


def test_times_below_a_second_are_written_whole(tmp_path: Path) -> None:
    table = frame(300, step="100ms")[["date", "a"]]
    source = SeriesData(table, LOOKBACK, HORIZON)
    [fold] = rolling_folds([300], source.split_rows(), 1, HORIZON)
    with forecast_table(tmp_path / "all.csv", ["a"]) as keep:
        run_backtest(
            [fold],
            lambda fold: SeriesData(table, LOOKBACK, HORIZON, split=fold.split),
            lambda fold, found: closed_form_baselines(found, SEASON),
            season=SEASON,
            batch_size=16,
            keep=keep,
        )
    found = pd.read_csv(tmp_path / "all.csv", parse_dates=["origin", "time"])
    ahead = (found["time"] - found["origin"]) / pd.Timedelta("100ms")
    np.testing.assert_allclose(ahead, found["step"])


RECIPE = """
seed_everything: 1
model:
  class_path: series
  init_args:
    net: {class_path: dlinear, init_args: {lookback: 24, horizon: 6, kernel_size: 5}}
    optimizer: {class_path: Adam, init_args: {lr: 1e-2}}
data:
  class_path: series
  init_args:
    {path: shops.csv, lookback: 24, horizon: 6, id: shop, eval_batch_size: 64, split: SPLIT}
trainer: {max_epochs: 1, accelerator: cpu}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shops().to_csv("shops.csv", index=False)
    Path("own.yaml").write_text(RECIPE.replace("SPLIT", json.dumps(SPLIT)))
    return tmp_path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_command_writes_series_and_forecasts(folder: Path, capsys, suffix: str) -> None:
    out = f"deep/all{suffix}"
    words = ["--folds", "2", "--stride", "5", "--no-dlinear", "--out_forecasts", out]
    assert main(["backtest", "--config", "own.yaml", *words, "--out", "bt"]) == 0
    said = capsys.readouterr().out
    assert "3 series, each window counts alike; series by series: bt/series.csv" in said
    assert f"forecasts: {out}" in said
    found = json.loads(Path("bt/backtest.json").read_text())
    rows = list(csv.DictReader(Path("bt/series.csv").read_text().splitlines()))
    assert len(rows) == len(found["by_series"]) == 3 * 4
    assert found["settings"]["standardised by"].startswith("the deviations of each series")
    page = Path("bt/report.html").read_text()
    for text in ("By series", "Means over series, each counting alike", "so a series by its wind"):
        assert text in page, text
    table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    assert set(table["model"]) == {"DLinear", "naive", "seasonal naive", "ridge"}
    own = table[table["model"] == "DLinear"]
    pooled = next(row for row in found["scores"] if row["fold"] == "all")
    assert len(own) == pooled["windows"] * 6
    inside = (own["q0.05"] <= own["truth"]) & (own["truth"] <= own["q0.95"])
    assert inside.mean() == pytest.approx(pooled["coverage_90"], abs=1e-6)
    small = own[own["series"] == "small"]
    by_series = next(r for r in found["by_series"] if r["series"] == "small")
    split = folds(data(SPLIT))[0].split
    values = shops()
    train = values[(values["shop"] == "small") & (values["date"] < split["train"])]["a"]
    squared = ((small["value"] - small["truth"]) / train.std(ddof=0)) ** 2
    assert squared.mean() == pytest.approx(by_series["mse"], rel=1e-3)


def test_rows_without_dates_are_said_to_be_counted(folder: Path, capsys) -> None:
    shops().drop(columns="date").to_csv("shops.csv", index=False)
    words = ["--folds", "1", "--stride", "9", "--no-dlinear", "--out", "bt"]
    code = main(
        ["backtest", "--config", "own.yaml", "--data.step", "''", "--data.split", "ratio", *words]
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "Folds are counted in rows from the end of each series, which have no dates" in said.out


@pytest.mark.fault
def test_a_table_of_forecasts_is_refused_before_any_work(folder: Path, capsys) -> None:
    Path("taken.csv").mkdir()
    for out, message in (
        ("all.txt", "forecasts are written to one of .csv, .parquet, not to all.txt"),
        ("taken.csv", "--out_forecasts taken.csv is an existing folder"),
        ("./shops.csv", "shops.csv would replace the data it is made from, shops.csv"),
    ):
        assert main(["backtest", "-c", "own.yaml", "--out_forecasts", out, "--out", "bt"]) == 2
        assert message in capsys.readouterr().err
    assert not Path("bt").exists()
    Path("shops.csv").rename("series.csv")
    assert main(["backtest", "-c", "own.yaml", "--data.path", "series.csv", "--out", "."]) == 2
    assert "series.csv would replace the data it is made from" in capsys.readouterr().err


def test_quantiles_of_training_are_scored_as_they_are(folder: Path, capsys) -> None:
    net = ["--model.net", "quantiles", "--model.net.base", "dlinear", "--model.loss", "quantile"]
    net += ["--model.net.levels", "[0.05, 0.5, 0.95]", "--trainer.max_epochs", "3"]
    assert main(["fit", "--config", "own.yaml", *net, "--out", "run"]) == 0
    assert "learnt in training" in Path("run/report.html").read_text()
    words = ["--folds", "1", "--stride", "5", "--no-dlinear", "--out_forecasts", "all.csv"]
    assert main(["backtest", "--ckpt_path", "run", *words, "--out", "bt"]) == 0, capsys.readouterr()
    table = pd.read_csv("all.csv")
    own = table[table["model"] == "Quantiles"]
    assert own["q0.025"].isna().all()
    np.testing.assert_allclose(own["value"], own["q0.5"])
    # CRPS depends on the levels: those of the others are the same
    naive = table[table["model"] == "naive"]
    assert naive["q0.025"].isna().all()
    assert naive["q0.05"].notna().all()
    written = json.loads(Path("bt/backtest.json").read_text())
    assert written["settings"]["intervals"].startswith("of Quantiles as trained; of the others")
    found = written["scores"][0]
    inside = (own["q0.05"] <= own["truth"]) & (own["truth"] <= own["q0.95"])
    assert inside.mean() == pytest.approx(found["coverage_90"], abs=1e-6)
    assert found["crps"] > 0
    assert main(["predict", "--ckpt_path", "run", "--out", "next.csv"]) == 0
    assert "a_q0.95" in pd.read_csv("next.csv").columns
