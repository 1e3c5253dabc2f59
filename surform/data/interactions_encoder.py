"""Record batches of a table of interactions as encoded rows; nothing loops over rows or values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surform.data.interactions_columns import coded, flattened, numbers
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_hash import arrow_hashes
from surform.data.interactions_table import InteractionsTable
from surform.data.interactions_transforms import TRANSFORMS

__all__ = ["InteractionsEncoder", "interleaved", "labels_of", "refuse_missing"]


class InteractionsEncoder:
    """Encodes what `about` describes."""

    def __init__(self, about: InteractionsDescription) -> None:
        self.about = about

    def encode(self, batch: Any, file: str, within: int = 0) -> InteractionsTable:
        """A record batch, encoded; without labels or groups where it lacks their columns.

        Args:
            file: where the rows are from, for errors.
            within: number of the first row there.

        Raises:
            ValueError: columns that hold something else than their roles say.
        """
        about, rows = self.about, batch.num_rows
        categorical = np.empty((rows, len(about.categorical)), dtype=np.int32)
        for place, name in enumerate(about.categorical):
            categorical[:, place] = self._ids(name, batch.column(name), file)
        found = InteractionsTable(
            categorical=categorical,
            labels=self._labels(batch, file, within),
            dense=self.dense(batch, file, within) if about.dense else None,
            **self._lists(batch, file),
        )
        if about.group in batch.schema.names:
            found.group = _group_numbers(
                batch.column(about.group), f"column {about.group!r} of {file}"
            )
        return found

    def _ids(self, name: str, column: Any, file: str) -> np.ndarray:
        numbering = self.about.numbering[name]
        found, codes = coded(column, numbering.text, f"column {name!r} of {file}")
        # the last row of the table is that of code -1
        table = np.append(numbering.of_arrow(found), 0).astype(np.int32)
        return table[codes]

    def _lists(self, batch: Any, file: str) -> dict[str, np.ndarray]:
        about = self.about
        if not about.multivalued:
            return {}
        ids, lengths = [], []
        for name in about.multivalued:
            where = f"column {name!r} of {file}"
            flat, counts = flattened(batch.column(name), about.separator, where)
            ids.append(self._ids(name, flat, file))
            lengths.append(counts)
        values, counts = interleaved(ids, np.stack(lengths, 1))
        return {"values": values.astype(np.int32), "lengths": counts.astype(np.int32)}

    def dense(self, batch: Any, file: str, within: int = 0) -> np.ndarray:
        """(rows, m) float32: the numbers, transformed and filled; arguments as of `encode`."""
        about = self.about
        found = np.empty((batch.num_rows, len(about.dense)), dtype=np.float32)
        for place, name in enumerate(about.dense):
            where = f"column {name!r} of {file}"
            column = numbers(batch.column(name), where, within)
            column = TRANSFORMS[about.transforms.get(name, "none")](column)
            gone = np.isnan(column)
            if gone.any():
                if name not in about.fills:
                    refuse_missing(column, where, within)
                column = np.where(gone, about.fills[name], column)
            found[:, place] = column
        return found

    def _labels(self, batch: Any, file: str, within: int) -> np.ndarray:
        about = self.about
        if any(name not in batch.schema.names for name in about.labels):
            return np.zeros((batch.num_rows, 0), dtype=np.float32)
        found = np.empty((batch.num_rows, len(about.labels)), dtype=np.float32)
        for place, name in enumerate(about.labels):
            where = f"column {name!r} of {file}"
            column = numbers(batch.column(name), where, within)
            found[:, place] = labels_of(column, about.positive.get(name), where, within)
        return found


def refuse_missing(column: np.ndarray, where: str, within: int = 0) -> None:
    """ValueError that names the first row without a number."""
    gone = np.isnan(column)
    if gone.any():
        row = within + int(gone.argmax())
        raise ValueError(f"row {row} has no number in {where}: set missing to mean, or to a number")


def labels_of(column: np.ndarray, least: float | None, where: str, within: int = 0) -> np.ndarray:
    """Labels 0 and 1, NaN where unknown.

    Args:
        least: what counts as 1; None: the column holds labels.

    Raises:
        ValueError: another value than 0 and 1.
    """
    if least is not None:
        return np.where(np.isnan(column), np.nan, column >= least)
    wrong = ~((column == 0) | (column == 1) | np.isnan(column))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"row {within + row} has the label {column[row]:g} in {where}, but labels are 0 or 1 "
            "(positive says from which value on a rating counts as 1)"
        )
    return column


def interleaved(ids: Sequence[np.ndarray], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids of k multi-valued features as one row: row by row, in a row feature by feature.

    Args:
        ids: per feature the ids of all rows in turn.
        lengths: (N, k), how many each row and feature has.
    """
    flat = lengths.reshape(-1)
    starts = (np.cumsum(flat) - flat).reshape(lengths.shape)
    found = np.empty(int(flat.sum()), dtype=ids[0].dtype if ids else np.int64)
    for place, own in enumerate(ids):
        counts = lengths[:, place]
        shift = starts[:, place] - (np.cumsum(counts) - counts)
        found[np.repeat(shift, counts) + np.arange(len(own))] = own
    return found, lengths


def _group_numbers(column: Any, where: str) -> np.ndarray:
    """(N,) int64: the same for rows of one group, in any file; -1 where the group is missing."""
    found, codes = coded(column, True, where)
    table = np.append((arrow_hashes(found) >> np.uint64(1)).astype(np.int64), -1)
    return table[codes]
