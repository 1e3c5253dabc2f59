"""Tables of time series as a Lightning data module."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from surform.data.calendar import calendar_features, calendar_names
from surform.data.faults import command_line
from surform.data.loaders import joint_processes
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.series_batch import SeriesBatch
from surform.data.series_build import Cleaning, build_table
from surform.data.series_changes import mean_changes, positive_scale
from surform.data.series_description import SeriesDescription
from surform.data.series_fingerprint import series_fingerprint
from surform.data.series_forecast import ForecastWindows
from surform.data.series_roles import find_roles
from surform.data.series_sources import open_table
from surform.data.series_space import Space
from surform.data.series_splits import check_split, split_rows
from surform.data.series_statistics import column_normalizer, column_statistics
from surform.data.series_table import SeriesTable, blocks_of
from surform.data.series_windows import SeriesWindows, window_starts

__all__ = ["SeriesData"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class SeriesData(OrderedData):
    """One or several multivariate time series: windows of `lookback` steps, and the next `horizon`.

    Args:
        path: a file or URL that `open_table` reads; in Python also a table.
        lookback: steps given (L).
        horizon: steps forecast (H).
        split: "etth", "ettm", "ratio", or train, validation and test as fractions, numbers of rows
            or the dates before which they end, perhaps with the date of the start; see
            `split_rows`. Each series is split for itself.
        time: the column of times; None finds it by its name or content.
        time_format: as for `datetime.strptime`, or "s", "ms", "us", "ns" since 1970.
        step: time between rows ("1h", "15min", "MS", ...); None finds it, "" ignores times.
        id: the column that names the series of a table in long format.
        variates: columns of the history; None: every column of numbers that is nothing else.
        targets: variates that are forecast; None: all.
        known: covariates that are known ahead; rows behind the last variates may hold them.
        static: columns that stay the same along a series; one of text becomes a column per
            category ("region=north"), 1 or 0.
        marks: calendar features: false or null, true or "continuous" ([-0.5, 0.5]), or "integer".
        marks_step: the step whose features are used ("h" of daily data: what published code did);
            None: that of the data.
        fill: missing values inside a series: "none", "interpolate" or "previous".
        fill_limit: the longest run of missing rows that is filled.
        gaps: missing rows or values are an "error", or windows are "split" around them.
        normalize: "train" standardises each column by its training rows, all series together;
            "series" each variate of each series by its own, so that small and large series
            weigh alike (a new series by the rows that are given of it); "none".
        overlap: validation and test begin `lookback` rows earlier, so that their first target is
            their first row; the published PEMS split does without.
        batch_size: windows per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        protocol: "clean" counts every test window; "paper" drops what `drop_last_test` says.
        drop_last_test: with "paper": the batch size whose incomplete last test batch was dropped.
        generate: `{"solver": name, **options}`: makes `path` first if it does not exist.
        delimiter: between the fields of a text file; None finds it.
        header: whether a text file begins with column names; None finds out.
        decimal: mark of decimals in a text file, "." or ","; None finds it.
        cache: "memory" holds the table in memory, "files" in a memory-mapped file, "auto" decides
            by size (2 GiB).
        seed: of the shuffling.
        dtype: "float32" or "float64".
    """

    def __init__(
        self,
        path: Any,
        lookback: int,
        horizon: int,
        split: str | dict[str, Any] = "ratio",
        time: str | None = None,
        time_format: str | None = None,
        step: str | None = None,
        id: str | None = None,
        variates: list[str] | None = None,
        targets: list[str] | None = None,
        known: list[str] | tuple[str, ...] = (),
        static: list[str] | tuple[str, ...] = (),
        marks: bool | str | None = False,
        marks_step: str | None = None,
        fill: Literal["none", "interpolate", "previous"] = "none",
        fill_limit: int = 0,
        gaps: Literal["error", "split"] = "error",
        normalize: Literal["train", "series", "none"] = "train",
        overlap: bool = True,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        protocol: Literal["clean", "paper"] = "clean",
        drop_last_test: int = 0,
        generate: dict[str, Any] | None = None,
        delimiter: str | None = None,
        header: bool | None = None,
        decimal: Literal[".", ","] | None = None,
        cache: Literal["auto", "memory", "files"] = "auto",
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("marks", marks or False, (False, True, "continuous", "integer")),
            ("normalize", normalize, ("train", "series", "none")),
            ("protocol", protocol, ("clean", "paper")),
            ("cache", cache, ("auto", "memory", "files")),
            ("dtype", dtype, tuple(_DTYPES)),
        ):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose {', '.join(map(str, choices))}")
        for name, value, least in (
            ("lookback", lookback, 1), ("horizon", horizon, 1), ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1), ("drop_last_test", drop_last_test, 0),
            ("seed", seed, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if (protocol == "paper") != bool(drop_last_test):
            raise ValueError(
                f"protocol={protocol!r} with drop_last_test={drop_last_test}: the paper protocol "
                "drops an incomplete test batch of that size, the clean one drops nothing"
            )
        if not isinstance(split, str):  # YAML makes dates of 2017-07-01
            split = {k: str(v) if isinstance(v, date) else v for k, v in split.items()}
        check_split(split)
        self.path, self.generate = path, generate
        self.lookback, self.horizon, self.split, self.overlap = lookback, horizon, split, overlap
        self.columns: dict[str, Any] = {
            "time": time, "id": id, "variates": _names("variates", variates),
            "targets": _names("targets", targets), "known": _names("known", known) or None,
            "static": _names("static", static) or None,
        }  # fmt: skip
        self.cleaning = Cleaning(step, time_format, fill, fill_limit, gaps)
        self.marks: Any = "continuous" if marks is True else marks or False
        self.marks_step = marks_step
        if self.marks and marks_step:
            calendar_names(marks_step, self.marks)
        self.normalize, self.dtype = normalize, _DTYPES[dtype]
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.protocol, self.drop_last_test = drop_last, protocol, drop_last_test
        self.text = {"delimiter": delimiter, "header": header, "decimal": decimal}
        self.cache: Any = cache
        self.seed = seed
        self._table: SeriesTable | None = None
        self._splits: list[dict[str, tuple[int, int]]] | None = None
        self._marks: Tensor | None = None
        self._normalizers: tuple[Normalizer, ...] | None = None
        self._description: SeriesDescription | None = None

    # -- what the data are -------------------------------------------------------------------

    @property
    def table(self) -> SeriesTable:
        """The series, read and checked at first use."""
        if self._table is None:
            self.prepare_data()
            reader = open_table(self.path, time=self.columns["time"], **self.text)
            given = {name: value for name, value in self.columns.items() if value is not None}
            options = {"timed": self.cleaning.step != "", **reader.defaults, **given}
            roles = find_roles(reader.kinds(), reader.name, **options)
            space = Space(np.dtype(str(self.dtype).removeprefix("torch.")), self.cache)
            with np.errstate(over="ignore"):  # what float32 cannot hold is named later
                raw = reader.read(roles.numbers, roles.labels, space)
            self._table = build_table(raw, roles, self.cleaning, space)
        return self._table

    def description(self) -> SeriesDescription:
        """Names, step, windows and provenance of the series."""
        if self._description is None:
            table, roles = self.table, self.table.roles
            self._description = SeriesDescription(
                variates=roles.variates,
                targets=roles.targets,
                lookback=self.lookback,
                horizon=self.horizon,
                step=table.step.text if table.step else "",
                marks=self._mark_names(),
                known=roles.known,
                static=roles.static,
                normalize="series" if self.normalize == "series" else "train",
                units=dict(table.units),
                source={
                    **table.attributes,
                    "path": table.name,
                    "fingerprint": series_fingerprint(table),
                    **self._reading(),
                },
            )
        return self._description

    def normalizers(self) -> tuple[Normalizer, ...]:
        """Normalisers of variates, known and static covariates, fitted on the training rows."""
        if self._normalizers is None:
            self._normalizers = tuple(self._fitted())
        return self._normalizers

    def check(self, trained: SeriesDescription) -> None:
        """ValueError unless these data suit a model trained on data described by `trained`."""
        trained.require_match(self.description(), self.table.name)

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)

    def setup(self, stage: str) -> None:
        """Read and check the table; make the windows of the stage."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",)}
        for split in splits.get(stage, ()):
            if split in self._rows()[0]:
                ranks = joint_processes(self.trainer)[1]
                require_windows(len(self.windows(split)), ranks, f"{split} ")

    def predict_dataloader(self) -> DataLoader[SeriesBatch]:
        return self._in_order(self.forecast_windows(), BatchOrder)[0]

    def held_bytes(self) -> int:
        """Bytes of the data in memory."""
        values = self.table.values
        return 0 if isinstance(values, np.memmap) else values.nbytes

    # -- parts -------------------------------------------------------------------------------

    def windows(self, split: str) -> SeriesWindows:
        """The windows of "train", "validation" or "test": a data set of `SeriesBatch`."""
        table, steps = self.table, self.lookback + self.horizon
        if split not in self._rows()[0]:
            raise ValueError(f"there is no {split} split: split has {', '.join(self._rows()[0])}")
        starts = [
            window_starts(span, self._window_rows(rows[split]), steps)
            for span, rows in zip(table.spans, self._rows(), strict=True)
        ]
        whole = np.concatenate(starts)
        if not len(whole):
            raise ValueError(self._too_short(split))
        if split == "test" and self.drop_last_test:
            kept = len(whole) // self.drop_last_test * self.drop_last_test
            if not kept:
                raise ValueError(
                    f"drop_last_test={self.drop_last_test} drops all {len(whole)} test windows"
                )
            whole = whole[:kept]
        scale = self._scale() if table.roles.id is not None else None
        return SeriesWindows(
            table, whole, self.lookback, self.horizon, self._table_marks(), scale,
            self._statistics(),
        )  # fmt: skip

    def split_rows(self) -> list[dict[str, tuple[int, int]]]:
        """Per series, first row and end of each split, counted from the start of the series."""
        return self._rows()

    def forecast_windows(self) -> ForecastWindows:
        """One window per series, its last rows: a data set of `SeriesBatch` without targets."""
        marks = self._calendar if self._mark_names() else None
        scale = self._scale(whole=True)
        return ForecastWindows(
            self.table, self.lookback, self.horizon, marks, scale, self._statistics(whole=True)
        )

    def known_rows(self, whole: bool = False) -> list[tuple[int, int]]:
        """Per series, first row and end in the table of what its size is judged by.

        Its training rows. Where they are fewer than a look-back, the rows before its test rows, and
        the look-back of its first window at least, of which nothing is forecast. All with `whole`.
        """
        found = []
        for span, rows in zip(self.table.spans, self._rows(), strict=True):
            first, end = (0, span.rows) if whole else rows["train"]
            if end - first < self.lookback:
                first, end = 0, max(self.lookback, end, rows.get("test", (0, 0))[0])
            found.append((span.start + first, span.start + min(end, span.rows)))
        return found

    def changes(self, lag: int = 1, whole: bool = False) -> np.ndarray:
        """`mean_changes` of the targets over the `known_rows`: `(series, V_out)`."""
        table = self.table
        columns = [table.roles.variates.index(name) for name in table.roles.targets]
        return mean_changes(table.values, self.known_rows(whole), lag)[:, columns]

    def _rows(self) -> list[dict[str, tuple[int, int]]]:
        """Per series, first row and end of each split."""
        if self._splits is None:
            table = self.table
            self._splits = [
                split_rows(
                    self.split,
                    span.rows,
                    table.where(span),
                    None if table.times is None else table.times[span.start : span.stop],
                )
                for span in table.spans
            ]
        return self._splits

    def _scale(self, whole: bool = False) -> Tensor:
        return torch.from_numpy(positive_scale(self.changes(whole=whole))).to(self.dtype)

    def _statistics(self, whole: bool = False) -> Tensor | None:
        """`(series, 2, V)`: mean and deviation of each series over its `known_rows`."""
        if self.normalize != "series":
            return None
        count = len(self.table.roles.variates)
        values = self.table.values[:, :count]
        found = [np.stack(column_statistics(values, [rows])) for rows in self.known_rows(whole)]
        return torch.from_numpy(np.stack(found)).to(self.dtype)

    def _window_rows(self, rows: tuple[int, int]) -> tuple[int, int]:
        first, end = rows
        return (max(first - self.lookback, 0) if self.overlap else first), end

    def _too_short(self, split: str) -> str:
        longest = max(b - a for a, b in (rows[split] for rows in self._rows()))
        have = f"{longest} rows" if len(self._rows()) == 1 else f"at most {longest} rows a series"
        return (
            f"{split} of {self.table.name} has {have}, too few for a window of "
            f"{self.lookback + self.horizon} (lookback {self.lookback} + horizon {self.horizon})"
            + (" without a gap" if self.cleaning.gaps == "split" else "")
        )

    def _fitted(self) -> list[Normalizer]:
        table, roles = self.table, self.table.roles
        counts = (len(roles.variates), len(roles.known))
        if self.normalize == "none":
            pairs = [(np.zeros(n), np.ones(n)) for n in (*counts, len(roles.static))]
        else:
            rows = [
                (span.start + r["train"][0], span.start + r["train"][1])
                for span, r in zip(table.spans, self._rows(), strict=True)
            ]
            mean, std = column_statistics(table.values, rows)
            pairs = [(mean[: counts[0]], std[: counts[0]]), (mean[counts[0] :], std[counts[0] :])]
            if self.normalize == "series":  # the variates' statistics come with each batch
                pairs[0] = (np.zeros(counts[0]), np.ones(counts[0]))
            pairs.append(column_statistics(table.static, [(0, len(table.static))]))
        return [column_normalizer(mean, std) for mean, std in pairs]

    def _reading(self) -> dict[str, str]:
        """How the table was read, for forecasts from tables to come."""
        found = {"time": self.table.roles.time, "id": self.table.roles.id}
        if self.marks:
            found |= {"marks": self.marks, "marks_step": self.marks_step}
        return {name: value for name, value in found.items() if value is not None}

    def _mark_names(self) -> tuple[str, ...]:
        return calendar_names(self._marks_step(), self.marks) if self.marks else ()

    def _marks_step(self) -> str:
        table = self.table
        if not table.dates:
            raise ValueError(
                f"marks need dates, {table.name} has none: choose marks: false "
                f"({command_line(marks=False)})"
            )
        if self.marks_step:
            return self.marks_step
        if table.step is None:
            raise ValueError(
                f"{table.name} has no step: give marks_step, such as 1D "
                f"({command_line(marks_step='1D')})"
            )
        return table.step.calendar

    def _calendar(self, times: np.ndarray) -> Tensor:
        step = self._marks_step()
        found = torch.empty(len(times), len(self._mark_names()), dtype=self.dtype)
        for rows in blocks_of(len(times), 32):  # its int64 columns would need more than the table
            found[rows] = torch.from_numpy(calendar_features(times[rows], step, self.marks))
        return found

    def _table_marks(self) -> Tensor | None:
        if self._mark_names() and self._marks is None:
            assert self.table.times is not None
            self._marks = self._calendar(self.table.times)
        return self._marks

    def _has(self, split: str) -> bool:
        return split in self._rows()[0]

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[SeriesBatch], BatchOrder]:
        return self._in_order(self.windows(split), BatchOrder, training)


def _names(role: str, names: Any) -> tuple[str, ...] | None:
    if isinstance(names, str):
        raise ValueError(f"{role}: give a list of column names, got the string {names!r}")
    return None if names is None else tuple(names)
