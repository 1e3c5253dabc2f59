"""Score the rows of tables into a file, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.data.faults import closest
from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_columns import common_type, family
from surform.data.interactions_encoder import InteractionsEncoder
from surform.data.interactions_log import InteractionsLog
from surform.data.interactions_opening import open_table, trained_types
from surform.data.outputs import check_output
from surform.data.solvers.progress import progress_bar

if TYPE_CHECKING:
    from surform.recommenders.ranker import Ranker

__all__ = ["predict_file"]

_SUFFIXES = (".parquet", ".csv")


def predict_file(
    ranker: Ranker,
    source: Any,
    out: str | PathLike[str],
    keep: list[str] | str | None = None,
    batch_size: int = 8192,
    layout: str | None = None,
    delimiter: str | None = None,
    columns: list[str] | None = None,
) -> Path:
    """Write a row for each row of `source`, in its order, all or nothing; returns the path.

    The columns are those to keep, and for each label `probability` (of several labels,
    `probability_<label>`). Of Parquet one group of rows is in memory at a time.

    Args:
        source: CSV, TSV or Parquet, a pattern or a list of such; labels need not be there.
        out: a file .parquet or .csv.
        keep: columns to carry over; default: that of the groups, or else the number of the row,
            `row`.
        batch_size: rows in one call of the network.
        layout: of published logs, as `InteractionsData` takes it.
        delimiter: between the fields of text files; default: found.
        columns: names of the columns of text files that have no line of names.

    Raises:
        ValueError: a model that does not know its table, or a table that lacks a column.
    """
    path, about = Path(out), ranker.description
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"{path} must end in .parquet or .csv, where scores are written")
    if about is None:
        raise ValueError("the model does not know the columns that it was trained on")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    check_output(path, [source])
    refuse_folder(path, "--out")
    log, _ = open_table(source, layout, delimiter, columns, trained_types(about))
    kept = _kept(keep, log, about.group)
    features = (*about.categorical, *about.multivalued, *about.dense)
    log.require([*features, *kept])
    names = _names(about.labels)
    taken = [name for name in kept if name in names]
    if taken:
        raise ValueError(f"keep names {taken[0]}, which is the column of the scores")
    kinds = {name: _written(log, name, path.suffix) for name in kept}
    with (
        replacing(path) as partial,
        _Writer(partial, path) as writer,
        progress_bar(f"scoring {log.name}") as progress,
    ):
        for first, batch, chances in _scored(ranker, log, features, kept, batch_size):
            found: dict[str, Any] = {n: batch.column(n).cast(k) for n, k in kinds.items()}
            if not kept:
                found["row"] = np.arange(first, first + batch.num_rows)
            found |= {name: chances[:, task] for task, name in enumerate(names)}
            writer.write(found)
            progress((first + batch.num_rows) / log.rows)
    return path


def _scored(
    ranker: Ranker,
    log: InteractionsLog,
    features: Sequence[str],
    kept: Sequence[str],
    batch_size: int,
) -> Iterator[tuple[int, Any, np.ndarray]]:
    """(number of the first row, record batch, probabilities (rows, labels)) of all rows in turn."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    about = ranker.description
    assert about is not None
    encoder = InteractionsEncoder(replace(about, group=""))
    device = next(iter(ranker.state_dict().values())).device
    for part in log.parts(list(dict.fromkeys([*features, *kept]))):
        count, given = part.batch.num_rows, part.batch.select(list(features))
        for name in about.labels:  # not known yet
            given = given.append_column(name, arrow.nulls(count, arrow.float32()))
        table = encoder.encode(given, part.file, part.within)
        batch = table.batch(slice(None), np.arange(count))
        yield part.row, part.batch, _chances(ranker, batch, batch_size, device)


@torch.inference_mode()
def _chances(
    ranker: Ranker, batch: InteractionsBatch, size: int, device: torch.device
) -> np.ndarray:
    found = [ranker.outputs(part.to(device)).float().cpu() for part in batch.parts(size)]
    return torch.cat(found).numpy()


def _kept(keep: list[str] | str | None, log: InteractionsLog, group: str) -> list[str]:
    """The columns to carry over; ValueError for one that is not there."""
    if keep is None:
        return [group] if group and group in log.schema.names else []
    names = [keep] if isinstance(keep, str) else list(keep)
    for name in names:
        if name not in log.schema.names:
            hint = closest(name, log.schema.names)
            raise ValueError(f"{log.name} has no column {name!r} to keep: {hint}")
    return list(dict.fromkeys(names))


def _written(log: InteractionsLog, name: str, suffix: str) -> Any:
    """The Arrow type of a column to carry over, one for all files; ValueError for lists in CSV."""
    types = require_extra("pyarrow", "tables", "reading Arrow tables").types
    kind = common_type(_decoded(file.schema.field(name).type) for file in log.files)
    if suffix == ".csv" and types.is_nested(kind):
        raise ValueError(
            f"keep names {name}, which holds {family(kind)}: write a .parquet, a CSV file has no "
            "place for them"
        )
    return kind


def _decoded(kind: Any) -> Any:
    """The type of the values of a column, numbered or not."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    if arrow.types.is_dictionary(kind):
        return kind.value_type
    if arrow.types.is_list(kind):
        return arrow.list_(_decoded(kind.value_type))
    return kind


def _names(labels: Sequence[str]) -> list[str]:
    return ["probability"] if len(labels) == 1 else [f"probability_{name}" for name in labels]


class _Writer:
    """Columns into Parquet or CSV, whichever the final name says, block by block."""

    def __init__(self, path: Path, final: Path) -> None:
        self.arrow = require_extra("pyarrow", "tables", f"writing {final.suffix}")
        self.path, self.suffix = path, final.suffix
        self.sink: Any = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *what: Any) -> None:
        if self.sink is not None:
            self.sink.close()

    def write(self, columns: dict[str, Any]) -> None:
        table = self.arrow.table(columns)
        if self.sink is None:
            kind = "parquet" if self.suffix == ".parquet" else "csv"
            module = require_extra(f"pyarrow.{kind}", "tables", f"writing {self.suffix}")
            make = module.ParquetWriter if kind == "parquet" else module.CSVWriter
            self.sink = make(self.path, table.schema)
        self.sink.write_table(table)
