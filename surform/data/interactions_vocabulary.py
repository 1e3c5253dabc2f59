"""What the categories of a column are numbered by: a vocabulary, or a hash into so many rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.interactions_hash import arrow_hashes, buckets, text_hashes

__all__ = ["UNKNOWN", "HashedColumn", "Vocabulary"]

UNKNOWN = 0  # the row of categories that training did not see (often enough), and of missing ones


class Vocabulary:
    """Categories, numbered from 1; what is not among them is 0. Tables are made at first use.

    Args:
        known: texts or whole numbers, each once.

    Raises:
        ValueError: a category twice, texts beside numbers, or other things.
    """

    def __init__(self, known: Sequence[Any], name: str = "") -> None:
        self.known, self.name = known, name
        kinds = {str if isinstance(k, str) else int if _whole(k) else type(k) for k in known}
        strange = [kind.__name__ for kind in kinds - {str, int}]
        if strange:
            raise ValueError(
                f"the vocabulary of {name} holds {strange[0]}, but categories are texts or whole "
                "numbers"
            )
        if len(kinds) > 1:
            raise ValueError(f"the vocabulary of {name} mixes texts and whole numbers: take one")
        if len(set(known)) != len(known):
            raise ValueError(f"the vocabulary of {name} names a category twice")
        self.text = kinds != {int}

    @property
    def rows(self) -> int:
        """Of an embedding table: the categories, and the unknown one."""
        return 1 + len(self.known)

    def of_values(self, values: Sequence[Any]) -> np.ndarray:
        """Ids (int64) of Python's values.

        Raises:
            ValueError: text where the vocabulary has numbers, or the other way round.
        """
        table = self._table
        try:
            found = [table.get(value, UNKNOWN) for value in values]
        except TypeError:
            row = next(i for i, value in enumerate(values) if value.__hash__ is None)
            raise ValueError(
                f"row {row} has {values[row]!r} in the column {self.name}, which holds one category"
            ) from None
        ids = np.array(found, dtype=np.int64)
        if self.known and not ids.all():
            self._refuse_other_kind(values, ids)
        return ids

    def of_arrow(self, values: Any) -> np.ndarray:
        """Ids (int64) of an Arrow array of texts, or of whole numbers as int64; none missing."""
        if not self.known:
            return np.zeros(len(values), dtype=np.int64)
        keys, ids, collide = self._sorted
        if collide:
            return self.of_values(values.to_pylist())
        wanted = arrow_hashes(values) if self.text else values.to_numpy(zero_copy_only=False)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = np.where(keys[place] == wanted, ids[place], UNKNOWN)
        return self._confirmed(found, values) if self.text else found

    def _confirmed(self, found: np.ndarray, values: Any) -> np.ndarray:
        """Ids of texts that are equal, and not only by their hashes."""
        compute = require_extra("pyarrow.compute", "tables", "reading Arrow tables")
        there = self._texts.take(np.maximum(found - 1, 0))
        same = compute.equal(there, values.cast(there.type)).to_numpy(zero_copy_only=False)
        return np.where(same, found, UNKNOWN)

    def _refuse_other_kind(self, values: Sequence[Any], ids: np.ndarray) -> None:
        for row in np.flatnonzero(ids == UNKNOWN).tolist():
            value = values[row]
            if value is None or value != value:
                continue
            if isinstance(value, str) != self.text:
                held = "texts" if self.text else "whole numbers"
                raise ValueError(
                    f"row {row} has {value!r} in the column {self.name}, whose categories are "
                    f"{held}"
                )

    @cached_property
    def _table(self) -> dict[Any, int]:
        return {category: number for number, category in enumerate(self.known, start=1)}

    @cached_property
    def _texts(self) -> Any:
        arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
        return arrow.array(self.known, type=arrow.large_string())

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Keys in order, their ids, and whether two categories have one key."""
        keys = arrow_hashes(self._texts) if self.text else np.array(self.known, dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        return keys, order + 1, bool((keys[1:] == keys[:-1]).any())

    def __getstate__(self) -> dict[str, Any]:
        made = ("_table", "_texts", "_sorted")
        return {name: value for name, value in vars(self).items() if name not in made}


class HashedColumn:
    """A column whose categories are hashed into rows 1 to `count`; missing ones have row 0.

    The hash is that of the category's text, so that 7 and "7" are one category, and the same on
    every machine (`surform.data.interactions_hash`). Weinberger et al., 2009, arXiv 0902.2206.
    """

    text = True

    def __init__(self, count: int, name: str = "") -> None:
        if count < 1:
            raise ValueError(f"{name} is hashed into {count} rows, but must be into 1 or more")
        self.count, self.name = count, name

    @property
    def rows(self) -> int:
        """Of an embedding table: those hashed into, and that of missing categories."""
        return 1 + self.count

    def of_values(self, values: Sequence[Any]) -> np.ndarray:
        """Ids (int64) of Python's values: texts, whole numbers, or None."""
        missing = np.array([value is None or value != value for value in values], dtype=bool)
        texts = ["" if gone else _text(v) for v, gone in zip(values, missing, strict=True)]
        return np.where(missing, UNKNOWN, buckets(text_hashes(texts), self.count))

    def of_arrow(self, values: Any) -> np.ndarray:
        """Ids (int64) of an Arrow array of texts; none missing."""
        return buckets(arrow_hashes(values), self.count)


def _text(value: Any) -> str:
    return str(int(value)) if _whole(value) else str(value)


def _whole(value: Any) -> bool:
    """Whether a value is a whole number, of any type."""
    try:
        return not isinstance(value, str) and value == int(value)
    except (TypeError, ValueError, OverflowError):
        return False
