"""Tables of interactions (clicks, ratings, installs) as a Lightning data module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import DataLoader

from surform.data.faults import parsing
from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_encoder import InteractionsEncoder
from surform.data.interactions_layouts import LAYOUTS
from surform.data.interactions_log import BATCH_ROWS, InteractionsLog
from surform.data.interactions_ranges import SplitRows
from surform.data.interactions_reading import Reading, divided, fingerprint, fitted, surveyed
from surform.data.interactions_samples import InteractionsSamples
from surform.data.interactions_schema import read_schema
from surform.data.interactions_splits import check_split, split_counts
from surform.data.interactions_stream import Lanes, Span, StreamOrder, StreamSamples
from surform.data.interactions_table import InteractionsTable, joined
from surform.data.json_file import read_json
from surform.data.loaders import joint_processes, whole_batches
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder, require_windows
from surform.data.ordered_module import OrderedData
from surform.data.provision import provide
from surform.data.splits import SPLITS

__all__ = ["InteractionsData"]

_MEMORY_LIMIT = 2**30  # encoded rows are held in memory up to this size under "auto"


class InteractionsData(OrderedData):
    """Rows of click logs and other tables of mixed features, and what came of them.

    Args:
        path: CSV, TSV or Parquet, a pattern or a list of such; a mapping train, validation, test ->
            these; in Python also a frame of pandas or polars, or an Arrow table.
        generate: make `path` with a solver when it is not there yet.
        layout: "criteo", "avazu" or "movielens" (a folder): the columns of these published logs.
        schema: a YAML or JSON file, or a mapping, of columns and their roles; see `read_schema`.
        labels: columns of 0 and 1, one per task; null: the one called label, click, clicked or
            target.
        positive: label -> the least value that counts as 1, for columns such as ratings.
        categorical: columns of one category per row. Once features of any kind are named, other
            columns are left out; null for all kinds: columns are judged by their types.
        multivalued: columns of any number of categories per row: lists, or text with `separator`.
        dense: columns of numbers.
        ignore: columns that are not judged by their types.
        separator: between the categories of multi-valued columns of text, such as "|".
        time: column that rows are ordered by; null: of a type of times, or called timestamp, time,
            datetime or date.
        group: column by which figures are also taken group by group: the user, the query.
        min_count: how often training rows must have a category for it to get a row of its own, the
            others share row 0; or column -> how often.
        hashed: column -> rows that its categories are hashed into, instead of a vocabulary.
        transforms: "log" (sign(x) log(1 + |x|)), "sqrt" or "none", of all numbers before they are
            standardised; or column -> one of them.
        missing: what stands for missing numbers: "error" (default) refuses them, "mean" takes that
            of the training rows, or a number; or column -> one of these.
        split: "train", "validation", "test" -> a share or number of rows, or (by time) the date
            before which it ends. Default: 80, 10 and 10 per cent.
        split_by: "random", "time", or "last": the last row of each group tests, the one before
            validates.
        split_seed: of the random split.
        vocabularies: description of a trained model, or the folder of a saved one: the table is
            read as that model's was, whatever else is said of columns here.
        batch_size: rows per training batch and process.
        eval_batch_size: likewise for validation, test and prediction; default `batch_size`.
        drop_last: leave out the last, incomplete training batch of an epoch.
        workers: processes that make batches.
        cache: "memory" holds all rows, encoded; "files" reads them from Parquet whenever they are
            needed; "auto" decides by size (1 GiB).
        shuffle_buffer: with "files", rows of a process that are shuffled together.
        delimiter: between the fields of a text file; null finds it.
        columns: names of the columns of text files that have no line of names.
        seed: of shuffling.
    """

    protocol = "clean"

    def __init__(
        self,
        path: Any,
        generate: dict[str, Any] | None = None,
        layout: str | None = None,
        schema: str | dict[str, Any] | None = None,
        labels: list[str] | None = None,
        positive: dict[str, float] | None = None,
        categorical: list[str] | None = None,
        multivalued: list[str] | None = None,
        dense: list[str] | None = None,
        ignore: list[str] | None = None,
        separator: str = "",
        time: str | None = None,
        group: str | None = None,
        min_count: int | dict[str, int] = 1,
        hashed: dict[str, int] | None = None,
        transforms: str | dict[str, str] | None = None,
        missing: float | str | dict[str, Any] | None = None,
        split: dict[str, Any] | None = None,
        split_by: Literal["random", "time", "last"] = "random",
        split_seed: int = 0,
        vocabularies: Any = None,
        batch_size: int = 1024,
        eval_batch_size: int | None = None,
        drop_last: bool = True,
        workers: int = 0,
        cache: Literal["auto", "memory", "files"] = "auto",
        shuffle_buffer: int = 2**18,
        delimiter: str | None = None,
        columns: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if cache not in ("auto", "memory", "files"):
            raise ValueError(f"cache={cache!r}: choose auto, memory, files")
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout={layout!r}: choose {', '.join(LAYOUTS)}")
        for name, least, value in (
            ("batch_size", 1, batch_size), ("eval_batch_size", 1, eval_batch_size),
            ("workers", 0, workers), ("seed", 0, seed), ("split_seed", 0, split_seed),
            ("shuffle_buffer", 1, shuffle_buffer),
            *(("min_count", 1, count) for count in _values(min_count)),
        ):  # fmt: skip
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        split = None if split is None else {k: _amount(v) for k, v in split.items()}
        check_split(split, split_by)
        if isinstance(path, Mapping):
            _check_mapping(path, split, vocabularies)
        self.path, self.generate = path, generate
        self.options: dict[str, Any] = {
            "layout": layout, "labels": labels, "positive": positive, "categorical": categorical,
            "multivalued": multivalued, "dense": dense, "ignore": ignore, "separator": separator,
            "time": time, "group": group, "min_count": min_count, "hashed": hashed,
            "transforms": transforms, "missing": missing, "types": {}, "delimiter": delimiter,
            "columns": columns,
        }  # fmt: skip
        if schema is not None:
            self._take_schema(schema)
        self.split, self.split_by, self.split_seed = split, split_by, split_seed
        self.vocabularies = vocabularies
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last, self.workers, self.seed = drop_last, workers, seed
        self.cache, self.shuffle_buffer = cache, shuffle_buffer
        self._opened: _Opened | None = None

    # -- what the data are -------------------------------------------------------------------

    def description(self) -> InteractionsDescription:
        """Columns, vocabularies and provenance of the table."""
        return self._open().about

    def normalizers(self) -> tuple[Normalizer, ...]:
        """The normaliser of the numbers, fitted to the training rows; none without numbers.

        Of a table that is read with a model's vocabularies it is fitted at the first call.
        """
        found = self._open().normalizer
        return () if found is None else (found,)

    def check(self, trained: InteractionsDescription) -> None:
        """ValueError unless the table suits a model trained on one described by `trained`."""
        trained.require_match(self.description(), self._open().name)

    def read_as(self, trained: InteractionsDescription) -> None:
        """From now on, read the table as that of a trained model: its columns and vocabularies."""
        if self._opened is None or not self._opened.about.reads_like(trained):
            self.vocabularies, self._opened = trained, None

    def held_bytes(self) -> int:
        """What the encoded rows take in memory."""
        table = self._open().table
        return 0 if table is None else table.nbytes

    # -- Lightning's hooks -------------------------------------------------------------------

    def prepare_data(self) -> None:
        if self.generate is not None:
            provide(self.path, self.generate)  # type: ignore[arg-type]

    def setup(self, stage: str) -> None:
        """Open the table and divide its rows; refuse splits with fewer rows than processes."""
        splits = {"fit": ("train", "validation"), "validate": ("validation",)}.get(stage, ("test",))
        for split in splits:
            if self._has(split):
                ranks = joint_processes(self.trainer)[1]
                require_windows(self._open().count_of(split), ranks, f"{split} ")

    # -- parts -------------------------------------------------------------------------------

    def samples(self, split: str) -> InteractionsSamples:
        """The rows of "train", "validation" or "test" in memory: a data set of `InteractionsBatch`.

        Raises:
            ValueError: no such split, or rows that stay in files.
        """
        opened = self._open()
        if opened.table is None and split in opened.counts:
            raise ValueError(f"the rows of {opened.name} stay in files: set cache to memory")
        own = opened.rows_of(split)
        assert opened.table is not None
        return InteractionsSamples(opened.table, own)

    def streamed(self, split: str) -> SplitRows:
        """The rows of a split, read from the files."""
        opened = self._open()
        opened.count_of(split)
        own = opened.codes == SPLITS.index(split)
        encoder = InteractionsEncoder(opened.about)
        return SplitRows(opened.reading.log, own, encoder, opened.reading.roles.encoded)

    @property
    def streams(self) -> bool:
        """Whether rows stay in their files."""
        return self._open().table is None

    def in_order(self, split: str, size: int) -> Iterator[InteractionsBatch]:
        """The rows of a split, in their order, in batches of `size`."""
        rows = self._open().count_of(split)
        samples: Any = self.streamed_samples(split) if self.streams else self.samples(split)
        for first in range(0, rows, size):
            end = min(first + size, rows)
            yield samples[Span(0, 0, first, end) if self.streams else range(first, end)]

    @property
    def log(self) -> InteractionsLog:
        """The opened files, with the columns that a layout adds."""
        return self._open().reading.log

    def streamed_samples(self, split: str, lanes: Lanes | None = None) -> StreamSamples:
        """The rows of a split as what a `StreamOrder` asks for; in their order without lanes."""
        buffer = min(BATCH_ROWS, self.shuffle_buffer) if lanes is None else self.shuffle_buffer
        shared = Lanes(0, 0) if lanes is None else lanes
        return StreamSamples(self.streamed(split), lanes is not None, shared, self.seed, buffer)

    def split_rows(self) -> dict[str, np.ndarray]:
        """Numbers of the rows of each split, rising, counted over all files."""
        opened = self._open()
        return {name: opened.rows_of(name) for name in opened.counts}

    def _has(self, split: str) -> bool:
        return split in self._open().counts

    def _loader(
        self, split: str, training: bool = False
    ) -> tuple[DataLoader[InteractionsBatch], BatchOrder]:
        if self._open().table is not None:
            return self._in_order(self.samples(split), BatchOrder, training, self.workers)
        rank, ranks = joint_processes(self.trainer)
        size = self.batch_size if training else self.eval_batch_size
        order = StreamOrder(
            self._open().count_of(split), size, self.seed, training=training,
            drop_last=self.drop_last, rank=rank, ranks=ranks,
        )  # fmt: skip
        samples: Any = self.streamed_samples(split, order.lanes if training else None)
        # rows in their order are read by one process: others would read them all again
        return whole_batches(
            samples, order, self.workers if training else min(1, self.workers)
        ), order

    def _take_schema(self, schema: Any) -> None:
        for name, value in read_schema(schema).items():
            if name != "types" and self.options[name] not in (None, 1):
                raise ValueError(f"{name} is given twice: in schema and beside it")
            self.options[name] = value

    def _open(self) -> _Opened:
        if self._opened is None:
            self.prepare_data()
            trained = _trained(self.vocabularies)
            reading = Reading.open(self.path, self.options, trained)
            with parsing(reading.log.name):
                codes = divided(reading, self.split, self.split_by, self.split_seed)
                about, dense = surveyed(reading, codes) if trained is None else (trained, None)
                source = _source(reading, codes, fingerprint(reading, codes, about))
                about = replace(about, source=source)
                table, encoder = None, InteractionsEncoder(about)
                if self._fits(encoder, reading):
                    parts = reading.log.parts(reading.roles.encoded)
                    table = joined([encoder.encode(p.batch, p.file, p.within) for p in parts])
            self._opened = _Opened(reading, codes, about, dense, table)
        return self._opened

    def _fits(self, encoder: InteractionsEncoder, reading: Reading) -> bool:
        """Whether the rows are held, encoded: the first ones tell how long lists are."""
        if self.cache != "auto":
            return self.cache == "memory"
        part = next(reading.log.parts(reading.roles.encoded, 4096))
        first = encoder.encode(part.batch, part.file, part.within)
        return first.nbytes / len(first) * reading.log.rows <= _MEMORY_LIMIT


@dataclass(frozen=True)
class _Opened:
    """The table, and which of its rows belong to which split; encoded where it is held."""

    reading: Reading
    codes: np.ndarray
    about: InteractionsDescription
    dense: Normalizer | None
    table: InteractionsTable | None

    @property
    def name(self) -> str:
        return self.reading.log.name

    @cached_property
    def normalizer(self) -> Normalizer | None:
        if self.dense is not None or not self.about.dense or "train" not in self.counts:
            return self.dense
        return fitted(self.reading, self.codes, self.about)

    @cached_property
    def counts(self) -> dict[str, int]:
        return split_counts(self.codes)

    def count_of(self, split: str) -> int:
        if split not in self.counts:
            raise ValueError(f"there are no {split} rows: there are {', '.join(self.counts)}")
        return self.counts[split]

    def rows_of(self, split: str) -> np.ndarray:
        self.count_of(split)
        return np.flatnonzero(self.codes == SPLITS.index(split))


def _trained(given: Any) -> InteractionsDescription | None:
    """The description of a trained model, from what names it."""
    if given is None or isinstance(given, InteractionsDescription):
        return given
    if isinstance(given, Mapping):
        return InteractionsDescription.from_dict(given)
    path = Path(given)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"no saved model at {given}: vocabularies names its folder")
    values = read_json(path)
    found = values.get("description") if isinstance(values, dict) else None
    if not isinstance(found, Mapping) or "vocabularies" not in found:
        raise ValueError(f"{path} is of no model of interactions: it has no vocabularies")
    with parsing(path):
        return InteractionsDescription.from_dict(found)


def _source(reading: Reading, codes: np.ndarray, fingerprint: str) -> dict[str, str]:
    """Provenance: where the rows are from, how many, what was inferred, and a fingerprint."""
    named = [f"{count:,} {name}" for name, count in split_counts(codes).items()]
    inferred = {f"inferred {r}": ", ".join(n) for r, n in reading.roles.inferred.items()}
    return {
        "path": reading.log.name,
        "rows": ", ".join(named),
        "fingerprint": fingerprint,
        **inferred,
    }


def _check_mapping(path: Mapping[str, Any], split: Any, vocabularies: Any) -> None:
    unknown = sorted(set(path) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r} in path: choose {', '.join(SPLITS)}")
    if not path or (path.get("train") is None and vocabularies is None):
        raise ValueError(f"path names {', '.join(path) or 'nothing'}, but must name train")
    if split is not None:
        raise ValueError("split divides one set of files, but path has files of each split")


def _values(given: int | dict[str, int]) -> list[int]:
    return list(given.values()) if isinstance(given, dict) else [given]


def _amount(value: Any) -> Any:
    """YAML makes dates of 2017-07-01."""
    return value if isinstance(value, int | float | str) else str(value)
