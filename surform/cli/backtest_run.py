"""What `surform backtest` does: plan the folds, train what must be trained, score, report."""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from surform.cli.fit_check import import_class
from surform.cli.fit_config import apply_overrides, merge, read_config
from surform.cli.fit_progress import quiet, show_bar
from surform.cli.fit_resume import (
    check_classes,
    disagreements,
    find_checkpoint,
    moved_data,
    options,
)
from surform.cli.lightning_cli import resolve, train
from surform.cli.load import load_any, names_saved_model
from surform.cli.predict import unregistered_net
from surform.data.atomic import replacing
from surform.data.outputs import check_output
from surform.data.series_description import SeriesDescription
from surform.data.series_module import SeriesData
from surform.data.solvers.progress import progress_bar
from surform.forecasting.backtest import Backtest, run_backtest
from surform.forecasting.backtest_report import write_backtest_report
from surform.forecasting.baselines import season_of
from surform.forecasting.contestants import closed_form_baselines
from surform.forecasting.forecast_table import check_table, forecast_table
from surform.forecasting.forecaster import Forecaster
from surform.forecasting.rolling import Fold, rolling_folds
from surform.reports import format_value
from surform.training.checkpoint import read_checkpoint
from surform.uncertainty import Conformal, DeepEnsemble

__all__ = ["run"]

# Options of the data that training settled: with another split, test rows may be known already.
_BOUND = ("split", "normalize", "dtype")
_COUNTED = (
    "folds are counted in rows from the end of each series, which have no dates: where series end "
    "at different times, what is later in one may be known when another is forecast."
)
_SHOWN = ("fold", "model", "windows", "mse", "mae", "mase", "crps", "coverage_90")


def run(args: argparse.Namespace, overrides: list[str]) -> int:
    """Run the backtest; returns the exit code."""
    quiet()
    _check(args)
    config, model = _configuration(args, overrides)
    arguments = _series_arguments(config)
    for out in (args.out_forecasts, args.out / "backtest.csv", args.out / "series.csv"):
        if out is not None:
            check_output(out, [arguments["path"]])
    data = SeriesData(**arguments)
    if model is not None and model.description is not None:
        data.check(model.description)
    folds = _folds(args, data)
    season = args.season or season_of(data.description().step)
    entrants = _Entrants(config, args, model, season)
    targets = data.description().targets
    kept = forecast_table(args.out_forecasts, targets) if args.out_forecasts else nullcontext(None)
    with progress_bar(f"backtest: {len(folds)} folds") as progress, kept as keep:
        backtest = run_backtest(
            folds,
            lambda fold: SeriesData(**(arguments | {"split": fold.split, "generate": None})),
            entrants,
            season=season,
            stride=args.stride,
            batch_size=data.eval_batch_size,
            progress=progress,
            **({} if keep is None else {"keep": keep}),
        )
    how = _how(args, config, season) | _about_series(backtest, data)
    if getattr(entrants.model, "levels", ()):
        how["intervals"] = f"of {entrants.name} as trained; of the others {how['intervals']}"
    _write(backtest, args.out, how)
    title = f"{entrants.name} on {Path(str(data.table.name)).name}"
    report = write_backtest_report(
        args.out / "report.html", backtest, data.description(), title=title, how=how
    )
    _print(backtest)
    _print_series(backtest, data, args.out)
    if args.out_forecasts:
        print(f"forecasts: {args.out_forecasts}")
    print(f"report: {report}")
    return 0


def _folds(args: argparse.Namespace, data: SeriesData) -> list[Fold]:
    spans, times = data.table.spans, data.table.times
    pieces = []
    if times is not None and data.table.dates:
        pieces = [times[span.start : span.stop] for span in spans]
    return rolling_folds(
        [span.rows for span in spans],
        data.split_rows(),
        args.folds,
        data.horizon,
        args.window,
        pieces,
    )


class _Entrants:
    """The forecasters of a fold: the model, trained where it must be, then the simple ones.

    All are fitted on the rows before the first fold, or anew for every fold: one that alone kept
    learning would look better than it is.
    """

    def __init__(
        self,
        config: dict[str, Any],
        args: argparse.Namespace,
        model: Forecaster | None,
        season: int,
    ) -> None:
        self.config, self.args, self.model, self.season = config, args, model, season
        self.name = _name(config) if model is None else _name_of(model)
        self.simple: dict[str, Forecaster] = {}

    def __call__(self, fold: Fold, data: SeriesData) -> Mapping[str, Forecaster]:
        if self.model is None or self.args.refit:
            self.model = self._trained(self.config, fold, "model")
        if not self.simple or self.args.refit:
            self.simple = closed_form_baselines(data, self.season)
            if not self.args.no_dlinear and self.name != "DLinear":  # not a rival of itself
                linear = self._trained(_dlinear(self.config, data), fold, "dlinear")
                self.simple["DLinear"] = linear
        return {self.name: self.model} | self.simple

    def _trained(self, config: dict[str, Any], fold: Fold, name: str) -> Forecaster:
        config = copy.deepcopy(config)
        config["data"]["init_args"] |= {"split": fold.split, "generate": None}
        folder = self.args.out / f"fold-{fold.number}" / name
        if not show_bar():  # the lines of several trainings follow one another
            print(f"{_name(config)}, fold {fold.number}:", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(io.StringIO()):
            train(config, folder, title=f"{_name(config)}, fold {fold.number}", report=False)
        return _bare(load_any(str(folder), net=unregistered_net(config)))


def _check(args: argparse.Namespace) -> None:
    if args.ckpt_path and names_saved_model(args.ckpt_path):
        if args.refit or not args.config:
            raise ValueError(
                f"{args.ckpt_path} is a model without the data of its training: give --config, a "
                "recipe whose data are taken, and no --refit"
            )
    elif bool(args.config) == bool(args.ckpt_path):
        raise ValueError("a backtest needs either --config (a recipe) or --ckpt_path (a run)")
    if args.stride < 1 or (args.season is not None and args.season < 1):
        raise ValueError("--stride and --season must be at least 1")
    for place in (args.out, *args.out.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"--out {args.out}: {place} is a file, but a folder is written")
    if args.out_forecasts is not None:
        check_table(args.out_forecasts)
    if (args.out / "backtest.json").exists():
        raise ValueError(f"{args.out} holds a backtest already: choose another --out")


def _configuration(
    args: argparse.Namespace, overrides: list[str]
) -> tuple[dict[str, Any], Forecaster | None]:
    """The resolved configuration, and the model where a finished run is used as it is."""
    if args.config:
        layers: dict[str, Any] = {}
        for source in args.config:
            layers = merge(layers, read_config(source))
        if args.ckpt_path is None:
            return resolve(layers, overrides), None
        saved = _saved(args.ckpt_path, overrides)
        return resolve(_with_windows(layers, saved), overrides), saved
    checkpoint = find_checkpoint(args.ckpt_path, Path("runs"), of_run="best")
    stored = read_checkpoint(checkpoint)["surform_config"]
    if not stored.get("config"):
        raise ValueError(f"{args.ckpt_path} does not hold its configuration: use --config")
    check_classes(stored["config"], [apply_overrides({}, overrides)], checkpoint)
    config = resolve(stored["config"], overrides)
    if args.refit:
        return config, None
    _check_unchanged(stored["config"], config, options([apply_overrides({}, overrides)]))
    return config, _bare(load_any(str(checkpoint), net=unregistered_net(config)))


def _saved(source: str, overrides: list[str]) -> Forecaster:
    """A model that no run surrounds."""
    other = next((name for name in apply_overrides({}, overrides) if name != "data"), None)
    if other:
        raise ValueError(f"--{other}: {source} is backtested as it is; options are of the data")
    model = load_any(source)
    if not isinstance(model.description, SeriesDescription):
        raise ValueError(f"{source} is no forecaster of described series: a backtest needs one")
    return _bare(model)


def _with_windows(config: dict[str, Any], model: Forecaster) -> dict[str, Any]:
    """The windows that a finished model takes: those of a recipe are for models to be trained."""
    if not _is_series(config.get("data") or {}):
        return config
    sizes = {n: getattr(model.description, n) for n in ("lookback", "horizon")}
    return merge(config, {"data": {"init_args": sizes}})


def _check_unchanged(stored: dict[str, Any], config: dict[str, Any], asked: set[str]) -> None:
    """ValueError with both values where options ask a finished model for what it was not."""
    found = disagreements(stored, config, ("model", "trainer", "seed_everything"), asked)
    found += moved_data(stored, config, _BOUND)
    if found:
        name, before, now = found[0]
        raise ValueError(
            f"{name.replace('.init_args', '')} is {before!r} in the run but {now!r} on the command "
            "line, and a finished model is backtested as it is: leave it out, or add --refit to "
            "train anew"
        )


def _bare(model: Any) -> Forecaster:
    """Without the intervals of its own training: every fold calibrates anew."""
    while isinstance(model, Conformal):
        model = model.wrapped
    return model


def _series_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    node = config["data"]
    if not _is_series(node):
        raise ValueError(f"a backtest needs series data, not {node['class_path']}")
    arguments = dict(node["init_args"])
    if arguments["protocol"] != "clean":
        raise ValueError("a backtest counts every window: give --data.protocol clean")
    return arguments


def _is_series(node: Mapping[str, Any]) -> bool:
    path = node.get("class_path")
    return path is not None and issubclass(import_class("data", path), SeriesData)


def _dlinear(config: dict[str, Any], data: SeriesData) -> dict[str, Any]:
    """The configuration with DLinear in place of the model, trained as its authors do."""
    sizes = {"lookback": data.lookback, "horizon": data.horizon}
    stop = {"monitor": "validation/mse/clean", "patience": 3}
    values = {
        "seed_everything": config["seed_everything"],
        "model": {
            "class_path": "surform.forecasting.task.ForecastTask",
            "init_args": {
                "net": {"class_path": "surform.forecasting.dlinear.DLinear", "init_args": sizes},
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3}},
            },
        },
        "data": copy.deepcopy(config["data"]),
        "trainer": {
            "max_epochs": 10,
            "accelerator": config["trainer"].get("accelerator", "auto"),
            "callbacks": [
                {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": stop}
            ],
        },
    }
    return resolve(values, [])


def _name(config: Mapping[str, Any]) -> str:
    return config["model"]["init_args"]["net"]["class_path"].rpartition(".")[2]


def _name_of(model: Forecaster) -> str:
    count = len(model.members) if isinstance(model, DeepEnsemble) else 1
    return (f"{count} x " if count > 1 else "") + type(model.net).__name__


def _how(args: argparse.Namespace, config: Mapping[str, Any], season: int) -> dict[str, Any]:
    return {
        "model": args.ckpt_path or ", ".join(args.config),
        "data": str(config["data"]["init_args"]["path"]),
        "folds": args.folds,
        "training": _training(args),
        "stride between test windows": args.stride,
        "season of MASE and the seasonal forecast": season,
        "standardised by": "the deviations of the first fold's training rows",
        "intervals": "split-conformal, calibrated on the validation rows before each fold",
    }


def _about_series(backtest: Backtest, data: SeriesData) -> dict[str, str]:
    """What is different with several series, for the last table of the report."""
    if not backtest.series:
        return {}
    found = {
        "standardised by": "the deviations of each series' training rows in the first fold",
        "means": "over all windows, steps and targets: a series counts by its windows",
        "borders of the folds": "at the same dates in all series",
    }
    if not data.table.dates:
        found["borders of the folds"] = _COUNTED
    if backtest.without_windows():
        found["series without a window"] = ", ".join(backtest.without_windows())
    return found


def _training(args: argparse.Namespace) -> str:
    if args.refit:
        return f"all models anew for every fold, on {args.window} training rows"
    first = "the model as it is, the baselines" if args.ckpt_path else "all models"
    return f"{first} once, on the rows before the first fold"


def _print_series(backtest: Backtest, data: SeriesData, out: Path) -> None:
    if not backtest.series:
        return
    count, never = len(backtest.series), backtest.without_windows()
    print(f"{count} series, each window counts alike; series by series: {out / 'series.csv'}")
    if never:
        more = f" and {len(never) - 5} more" if len(never) > 5 else ""
        print(f"without a window in any fold: {', '.join(never[:5])}{more}")
    if not data.table.dates and len({span.rows for span in data.table.spans}) > 1:
        print(_COUNTED[0].upper() + _COUNTED[1:])


def _write(backtest: Backtest, out: Path, how: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = backtest.table()
    steps = {name: scores.by_step() for name, scores in backtest.pooled().items()}
    values = {"settings": how, "scores": rows, "by_step": steps}
    by_series = backtest.series_table()
    if by_series:
        values["by_series"] = by_series
        _write_rows(out / "series.csv", by_series)
    with replacing(out / "backtest.json") as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    _write_rows(out / "backtest.csv", rows)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _print(backtest: Backtest) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = list(_rows(backtest))
    shown = [column for column in _SHOWN if any(column in row for row in rows)]
    for column in shown:
        table.add_column(column, justify="left" if column in ("fold", "model") else "right")
    for row in rows:
        table.add_row(*(format_value(row.get(column, "")) for column in shown))
    Console().print(table)
    if backtest.without_intervals():
        print(backtest.without_intervals())


def _rows(backtest: Backtest) -> Iterator[dict[str, Any]]:
    rows = backtest.table()
    yield from (row for row in rows if row["fold"] == "all" or len(backtest.folds) > 1)
