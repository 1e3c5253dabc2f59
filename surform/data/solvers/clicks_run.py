"""Write a log of clicks as a table, a block of rows at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.atomic import replacing
from surform.data.extras import require_extra
from surform.data.solvers.click_log import ClickLog, bayes_figures
from surform.data.solvers.options import find_solver
from surform.data.solvers.request import Request
from surform.data.solvers.written_table import note_of

__all__ = ["bayes_of", "make_clicks"]

_BINS = 1 << 14
_KEY = "surform:bayes"


def make_clicks(request: Request, target: Path, report: Callable[[float], None]) -> None:
    """Make the rows of a request, all or nothing; memory is that of one block.

    What the true probabilities reach is written beside the request: into the metadata of Parquet,
    into `<name>.csv.json` of CSV.

    Args:
        request: what is asked for.
        target: name of the file, .parquet or .csv.
        report: called with the finished fraction.
    """
    try:
        log: ClickLog = find_solver(request.solver)(**request.parameters)
    except ValueError as error:
        raise ValueError(f"{request.solver}: {error}") from error
    counts, entropy, attributes = np.zeros((2, _BINS)), 0.0, request.attributes(target)
    with replacing(target) as partial:
        with _Sink(partial, target, attributes) as sink:
            for block in request.blocks():
                columns = log.rows(block, request.seed)
                chance = columns["probability"].astype(np.float64)
                bins = np.minimum((chance * _BINS).astype(np.int64), _BINS - 1)
                counts[0] += np.bincount(bins, 1 - chance, _BINS)
                counts[1] += np.bincount(bins, chance, _BINS)
                entropy += _entropy(chance) / request.samples
                sink.write(columns)
                report(block.stop / request.samples)
            found = bayes_figures(counts, entropy)
            sink.note(found)
        if target.suffix == ".csv":
            with replacing(note_of(target)) as note:
                note.write_text(json.dumps(attributes | found, indent=2) + "\n")


def bayes_of(path: Path) -> dict[str, float]:
    """`bayes_auc` and `bayes_log_loss` of a log that a solver made; nothing of other files."""
    try:
        if path.suffix == ".csv":
            told = json.loads(note_of(path).read_text())
            return {name: told[name] for name in ("bayes_auc", "bayes_log_loss")}
        parquet = require_extra("pyarrow.parquet", "tables", f"reading {path}")
        return json.loads((parquet.read_metadata(path).metadata or {})[_KEY.encode()])
    except (OSError, KeyError, ValueError):
        return {}


class _Sink(AbstractContextManager):
    """Record batches into a file whose kind the final name decides."""

    def __init__(self, path: Path, final: Path, attributes: dict[str, Any]) -> None:
        self.arrow = require_extra("pyarrow", "tables", f"writing {final.suffix}")
        self.path, self.parquet, self.writer = path, final.suffix == ".parquet", None
        notes = {f"surform:{name}": str(value) for name, value in attributes.items()}
        self.notes = notes | {"surform:attributes": json.dumps(attributes)}

    def write(self, columns: dict[str, np.ndarray]) -> None:
        table = self.arrow.table(columns)
        if self.writer is None:
            self.writer = self._open(table.schema)
        self.writer.write_table(table)

    def note(self, found: dict[str, float]) -> None:
        """What is known only at the end."""
        if self.parquet and self.writer is not None:
            self.writer.add_key_value_metadata({_KEY: json.dumps(found)})

    def __exit__(self, *what: Any) -> None:
        if self.writer is not None:
            self.writer.close()

    def _open(self, schema: Any) -> Any:
        if self.parquet:
            parquet = require_extra("pyarrow.parquet", "tables", "writing .parquet")
            return parquet.ParquetWriter(self.path, schema.with_metadata(self.notes))
        csv = require_extra("pyarrow.csv", "tables", "writing .csv")
        return csv.CSVWriter(self.path, schema)


def _entropy(chance: np.ndarray) -> float:
    """The sum of the entropies of clicks with these probabilities [nats]."""
    inside = chance[(chance > 0) & (chance < 1)]
    return float(-(inside * np.log(inside) + (1 - inside) * np.log1p(-inside)).sum())
