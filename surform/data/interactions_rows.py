"""Rows of a table, columns by name, as a batch: what a trained model is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from surform.data.faults import closest
from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_encoder import InteractionsEncoder, interleaved, labels_of
from surform.data.interactions_hash import text_hashes
from surform.data.interactions_table import joined
from surform.data.interactions_transforms import TRANSFORMS

__all__ = ["encode_rows"]


def encode_rows(
    about: InteractionsDescription, rows: Any, labelled: bool = True
) -> InteractionsBatch:
    """A batch from columns by name: a mapping of sequences, a data frame, an Arrow table.

    Categories that the vocabularies lack, and missing ones (None), are unknown: id 0. Labels are
    taken where all their columns are there, and groups where theirs is. Few rows need no other
    library; many are encoded fastest from Arrow tables.

    Args:
        labelled: whether labels are looked at.

    Raises:
        ValueError: a column is missing, columns of different lengths, text among numbers or
            categories that are numbers, numbers that are not finite or that are missing where the
            description does not say what stands for them, or something else than lists in a
            multi-valued column.
    """
    arrow = type(rows).__module__.partition(".")[0] == "pyarrow"
    columns = rows.schema.names if arrow else getattr(rows, "columns", rows)
    if not arrow and columns is rows and not isinstance(rows, Mapping):
        raise ValueError(
            f"rows are {type(rows).__name__}, but must be columns by name: a mapping of sequences, "
            "a data frame or an Arrow table"
        )
    names = [str(name) for name in columns]
    needed = (*about.categorical, *about.multivalued, *about.dense)
    lacking = [name for name in needed if name not in names]
    if lacking:
        raise ValueError(f"no column {lacking[0]!r} among the rows: {closest(lacking[0], names)}")
    if arrow:
        return _from_arrow(about, rows, labelled)
    known = names if labelled else [name for name in names if name not in about.labels]
    return _from_values(about, {n: _plain(rows[n], n) for n in needed}, rows, known)


def _from_arrow(about: InteractionsDescription, rows: Any, labelled: bool) -> InteractionsBatch:
    encoder, within, parts = InteractionsEncoder(about), 0, []
    if not labelled:
        rows = rows.drop_columns([name for name in about.labels if name in rows.schema.names])
    for batch in rows.to_batches() if hasattr(rows, "to_batches") else [rows]:
        parts.append(encoder.encode(batch, "the rows", within))
        within += batch.num_rows
    if not parts:
        return _from_values(about, {n: [] for n in rows.schema.names}, {}, [])
    return joined(parts).batch(slice(None), np.arange(within))


def _from_values(
    about: InteractionsDescription, columns: Mapping[str, Sequence[Any]], rows: Any,
    names: Sequence[str],
) -> InteractionsBatch:  # fmt: skip
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"columns have different lengths: {listed}")
    count = next(iter(counts.values()))
    single = [about.ids(name, columns[name]) for name in about.categorical]
    categorical = np.stack(single, 1) if single else np.zeros((count, 0), dtype=np.int64)
    values, lengths = _lists(about, columns) if about.multivalued else (None, None)
    dense = None
    if about.dense:
        numbers = [_numbers(about, name, columns[name]) for name in about.dense]
        dense = torch.from_numpy(np.stack(numbers, 1).astype(np.float32))
    return InteractionsBatch(
        categorical=torch.from_numpy(categorical),
        labels=_labels(about, rows, names, count),
        dense=dense,
        values=values,
        lengths=lengths,
        group=_groups(about, rows, names),
        index=torch.arange(count),
    )


def _plain(column: Any, name: str) -> Sequence[Any]:
    """A column's values, None where a frame has none."""
    kind = getattr(column, "dtype", None)
    if hasattr(column, "notna") and (not isinstance(kind, np.dtype) or kind.kind == "O"):
        # pandas, whose NA is no value of Python
        column = column.astype(object).where(column.notna(), None)
    for way in ("to_list", "tolist"):  # polars and pandas; NumPy
        if hasattr(column, way):
            column = getattr(column, way)()
            break
    if isinstance(column, str) or not hasattr(column, "__len__"):
        raise ValueError(f"the column {name} is {column!r}, but must be a sequence: one per row")
    return column


def _lists(
    about: InteractionsDescription, columns: Mapping[str, Sequence[Any]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids row by row and in a row feature by feature, and how many of each."""
    lengths, ids = [], []
    for name in about.multivalued:
        given = [_categories(name, n, v, about.separator) for n, v in enumerate(columns[name])]
        lengths.append(np.fromiter(map(len, given), dtype=np.int64, count=len(given)))
        ids.append(about.ids(name, [category for each in given for category in each]))
    values, counts = interleaved(ids, np.stack(lengths, 1))
    return torch.from_numpy(values), torch.from_numpy(counts)


def _categories(name: str, row: int, value: Any, separator: str) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return []
    if isinstance(value, str) and separator:
        return [category for category in value.split(separator) if category]
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise ValueError(
            f"row {row} has {value!r} in the multi-valued column {name}, which holds lists"
        )
    return value


def _numbers(about: InteractionsDescription, name: str, column: Sequence[Any]) -> np.ndarray:
    try:
        found = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        row = next(i for i, each in enumerate(column) if not _is_number(each))
        raise ValueError(
            f"row {row} has {column[row]!r} in the column {name}, which holds numbers"
        ) from None
    wrong = ~np.isfinite(found) if name not in about.fills else np.isinf(found)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row} has {found[row]} in the column {name}: fill it first")
    found = TRANSFORMS[about.transforms.get(name, "none")](found)
    return np.where(np.isnan(found), about.fills[name], found) if name in about.fills else found


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return value is None
    return True


def _labels(
    about: InteractionsDescription, rows: Any, names: Sequence[str], count: int
) -> torch.Tensor:
    if any(name not in names for name in about.labels):
        return torch.empty(count, 0)
    columns = [
        labels_of(_label_numbers(name, _plain(rows[name], name)), about.positive.get(name), name)
        for name in about.labels
    ]
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


def _label_numbers(name: str, column: Sequence[Any]) -> np.ndarray:
    try:
        return np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        row = next(i for i, each in enumerate(column) if not _is_number(each))
        raise ValueError(
            f"row {row} has the label {column[row]!r} in {name}, but labels are 0 or 1"
        ) from None


def _groups(about: InteractionsDescription, rows: Any, names: Sequence[str]) -> torch.Tensor:
    """As the encoder numbers them."""
    if about.group not in names:
        return torch.empty(0, dtype=torch.int64)
    values = _plain(rows[about.group], about.group)
    gone = np.array([value is None or value != value for value in values], dtype=bool)
    hashes = text_hashes([_text(value) for value in values]) >> np.uint64(1)
    return torch.from_numpy(np.where(gone, -1, hashes.astype(np.int64)))


def _text(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole or isinstance(value, bool) else str(value)
