"""All forecasts of a backtest as one table, written as they come."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.forecasting.backtest import Forecasts
from surform.uncertainty.conformal import LEVELS

__all__ = ["check_table", "forecast_rows", "forecast_table"]

_KINDS = (".csv", ".parquet")


def check_table(path: str | os.PathLike[str]) -> None:
    """ValueError or ImportError where no table can be written to a path; said before any work."""
    path = Path(path)
    if path.suffix not in _KINDS:
        raise ValueError(f"forecasts are written to one of {', '.join(_KINDS)}, not to {path}")
    refuse_folder(path, "--out_forecasts")
    if path.suffix == ".parquet":
        require_extra("pyarrow.parquet", "tables", f"writing {path}")


@contextmanager
def forecast_table(path: str | os.PathLike[str], targets: Sequence[str]) -> Iterator[Any]:
    """A function that takes `Forecasts` and appends them; the file appears when all are in it.

    Columns are those of `forecast_rows`; quantiles that a contestant does not know are missing.

    Args:
        path: `.csv` or `.parquet`.
        targets: names of the variates that are forecast.
    """
    path = Path(path)
    check_table(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        partial = stack.enter_context(replacing(path))
        begin = _begin_parquet if path.suffix == ".parquet" else _begin_csv
        append: Any = None
        levels: tuple[float, ...] = ()

        def keep(forecasts: Forecasts) -> None:
            nonlocal append, levels
            if append is None:  # the model comes first: it may know other quantiles than the rest
                levels = tuple(sorted({*LEVELS, *forecasts.levels}))
            columns = forecast_rows(forecasts, targets, levels)
            if append is None:
                append = begin(partial, columns, stack)
            append(columns)

        yield keep


def forecast_rows(
    forecasts: Forecasts, targets: Sequence[str], levels: Sequence[float] = ()
) -> dict[str, np.ndarray]:
    """A row per window, step and target, by column.

    `origin` is the time of the last row that was known, `time` that of the forecast, `step` counts
    from it; without times both are numbers of rows of the series. `q0.05`, ... are quantiles.

    Args:
        levels: the quantiles to give; NaN for those that are not known.
    """
    windows, output = forecasts.windows, forecasts.output.float().cpu().numpy()
    count, horizon, width = output.shape
    labels = windows.labels(forecasts.batch.index)
    last = labels["start"] + windows.lookback - 1
    steps = np.arange(1, horizon + 1)
    times = last[:, None] + steps
    if "last_time" in labels:
        last, times = labels["last_time"], windows.future_times(forecasts.batch.index)

    def spread(values: Any, shape: tuple[int, ...]) -> np.ndarray:
        whole = np.broadcast_to(np.asarray(values).reshape(shape), (count, horizon, width))
        return whole.reshape(-1)

    columns = {
        "fold": spread(forecasts.fold, (1, 1, 1)),
        "model": spread(np.array(forecasts.model, object), (1, 1, 1)),
        "series": spread(labels["series"].astype(object), (-1, 1, 1)),
        "origin": spread(last, (-1, 1, 1)),
        "step": spread(steps, (1, -1, 1)),
        "time": spread(times, (count, horizon, 1)),
        "variate": spread(np.array(targets, object), (1, 1, -1)),
        "value": output.reshape(-1),
        "truth": forecasts.batch.targets.float().numpy().reshape(-1),
    }
    known = {}
    if forecasts.quantiles is not None:
        known = dict(zip(forecasts.levels, forecasts.quantiles, strict=True))
    for level in levels:
        found = known.get(level)
        columns[f"q{level:g}"] = (
            np.full(output.size, np.nan, np.float32)
            if found is None
            else found.float().cpu().numpy().reshape(-1)
        )
    return columns


def _begin_csv(path: Path, first: dict[str, np.ndarray], stack: ExitStack) -> Any:
    file = stack.enter_context(open(path, "w", newline="", encoding="utf-8"))  # noqa: SIM115
    writer = csv.writer(file)
    writer.writerow(first)
    dates = [column for column in first.values() if column.dtype.kind == "M"]
    whole = all((column == column.astype("datetime64[s]")).all() for column in dates)

    def append(columns: dict[str, np.ndarray]) -> None:
        texts = [_texts(column, "s" if whole else "us") for column in columns.values()]
        writer.writerows(zip(*texts, strict=True))

    return append


def _texts(column: np.ndarray, unit: str) -> list[Any]:
    """As CSV wants them: dates without a T, to the second or finer, nothing for what is missing."""
    if column.dtype.kind == "M":
        return [text.replace("T", " ") for text in column.astype(f"datetime64[{unit}]").astype(str)]
    if column.dtype.kind == "f":
        return ["" if value != value else f"{value:.9g}" for value in column.tolist()]
    return column.tolist()


def _begin_parquet(path: Path, first: dict[str, np.ndarray], stack: ExitStack) -> Any:
    arrow = require_extra("pyarrow", "tables", "writing .parquet")
    parquet = require_extra("pyarrow.parquet", "tables", "writing .parquet")
    schema = _arrow(arrow, first).schema
    writer = stack.enter_context(parquet.ParquetWriter(path, schema))

    def append(columns: dict[str, np.ndarray]) -> None:
        writer.write_table(_arrow(arrow, columns).cast(schema))

    return append


def _arrow(arrow: Any, columns: dict[str, np.ndarray]) -> Any:
    return arrow.table(
        {name: arrow.array(column, from_pandas=True) for name, column in columns.items()}
    )
