"""Rows of a table, columns by name, as a batch: categories become ids, lists of them are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from surform.data.faults import closest
from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription

__all__ = ["encode_rows"]


def encode_rows(about: InteractionsDescription, rows: Any) -> InteractionsBatch:
    """A batch from columns by name: a mapping of sequences, a pandas or polars data frame.

    Categories that the vocabularies lack, and missing ones (None), are unknown: id 0. Labels are
    taken where all their columns are there.

    Raises:
        ValueError: a column is missing, columns of different lengths, text among numbers, numbers
            that are not finite, or something else than lists in a multi-valued column.
    """
    names = [str(name) for name in getattr(rows, "columns", rows)]
    needed = (*about.categorical, *about.multivalued, *about.dense)
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise ValueError(f"no column {lacking[0]!r} among the rows: {closest(lacking[0], names)}")
    columns = {name: _plain(rows[name]) for name in needed}
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"columns have different lengths: {listed}")
    count = next(iter(counts.values()))
    single = [about.ids(name, columns[name]) for name in about.categorical]
    categorical = np.stack(single, 1) if single else np.zeros((count, 0), dtype=np.int64)
    values, lengths = _lists(about, columns, count) if about.multivalued else (None, None)
    dense = None
    if about.dense:
        numbers = [_numbers(name, columns[name], about.transforms) for name in about.dense]
        dense = torch.from_numpy(np.stack(numbers, 1).astype(np.float32))
    return InteractionsBatch(
        categorical=torch.from_numpy(categorical),
        labels=_labels(about, rows, names, count),
        dense=dense,
        values=values,
        lengths=lengths,
        index=torch.arange(count),
    )


def _plain(column: Any) -> Sequence[Any]:
    for name in ("to_list", "tolist"):  # polars and pandas; NumPy
        if hasattr(column, name):
            return getattr(column, name)()
    return column


def _lists(
    about: InteractionsDescription, columns: Mapping[str, Sequence[Any]], count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids row by row and in a row feature by feature, and how many of each."""
    lengths = np.zeros((count, len(about.multivalued)), dtype=np.int64)
    pieces: list[list[np.ndarray]] = []
    for place, name in enumerate(about.multivalued):
        given = [[] if each is None else each for each in columns[name]]
        for row, each in enumerate(given):
            if isinstance(each, str) or not hasattr(each, "__len__"):
                raise ValueError(
                    f"row {row} has {each!r} in the multi-valued column {name}, which holds lists"
                )
        lengths[:, place] = [len(each) for each in given]
        ids = about.ids(name, [category for each in given for category in each])
        pieces.append(np.split(ids, np.cumsum(lengths[:, place])[:-1]) if count else [])
    joined = [part for row in zip(*pieces, strict=True) for part in row]
    values = np.concatenate(joined) if joined else np.zeros(0, dtype=np.int64)
    return torch.from_numpy(values), torch.from_numpy(lengths)


def _numbers(name: str, column: Sequence[Any], transforms: Mapping[str, str]) -> np.ndarray:
    try:
        found = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        row = next(i for i, each in enumerate(column) if not _is_number(each))
        raise ValueError(
            f"row {row} has {column[row]!r} in the column {name}, which holds numbers"
        ) from None
    wrong = ~np.isfinite(found)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row} has {found[row]} in the column {name}: fill it first")
    return np.sign(found) * np.log1p(np.abs(found)) if transforms.get(name) == "log" else found


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _labels(
    about: InteractionsDescription, rows: Any, names: Sequence[str], count: int
) -> torch.Tensor:
    if any(name not in names for name in about.labels):
        return torch.empty(count, 0)
    columns = [np.asarray(_plain(rows[name]), dtype=np.float64) for name in about.labels]
    found = np.stack(columns, 1)
    wrong = ~((found == 0) | (found == 1) | np.isnan(found))
    if wrong.any():
        row, place = (int(each) for each in np.argwhere(wrong)[0])
        raise ValueError(
            f"row {row} has the label {found[row, place]:g} in {about.labels[place]}, but labels "
            "are 0 or 1"
        )
    return torch.from_numpy(found.astype(np.float32))
