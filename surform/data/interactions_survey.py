"""One pass over the training rows: which categories there are, and the numbers' statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.interactions_columns import coded, family, flattened, numbers, usual
from surform.data.interactions_encoder import labels_of, refuse_missing
from surform.data.interactions_log import Part
from surform.data.interactions_roles import Roles
from surform.data.interactions_transforms import TRANSFORMS

__all__ = ["CategoryCounts", "Moments", "Survey", "require_spread"]

_PENDING = 1 << 20  # counted categories that wait to be added up
_MOST = 20_000_000  # categories of a column


class CategoryCounts:
    """How often each category was seen; memory grows with their number only."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts: list[tuple[Any, np.ndarray]] = []
        self._pending = 0

    def add(self, found: Any, codes: np.ndarray) -> None:
        """Count categories of `found`, an Arrow array, by their codes; -1 does not count."""
        counts = np.bincount(codes + 1, minlength=len(found) + 1)[1:]
        there = np.flatnonzero(counts)
        self._parts.append((found.take(there), counts[there]))
        self._pending += len(there)
        if self._pending > _PENDING:
            self._merge()

    def vocabulary(self, least: int) -> list[Any]:
        """Categories seen at least so often, the most frequent first, equals in their order."""
        if not self._parts:
            return []
        found, counts = self._merge()
        arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
        table = arrow.table({"category": found, "count": counts})
        table = table.filter(arrow.compute.field("count") >= least)
        table = table.sort_by([("count", "descending"), ("category", "ascending")])
        return table["category"].to_pylist()

    def _merge(self) -> tuple[Any, np.ndarray]:
        arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
        table = arrow.table({
            "category": arrow.chunked_array([found for found, _ in self._parts]),
            "count": np.concatenate([counts for _, counts in self._parts]),
        })  # fmt: skip
        table = table.group_by("category").aggregate([("count", "sum")]).combine_chunks()
        if table.num_rows > _MOST:
            raise ValueError(
                f"column {self.name!r} has more than {_MOST:,} categories: hash it, as in "
                f"hashed: {{{self.name}: 1000000}}"
            )
        found = table["category"].combine_chunks()
        merged = (found, table["count_sum"].to_numpy())
        self._parts, self._pending = [merged], 0
        return merged


class Moments:
    """Count, mean and deviation of numbers that come in parts (Chan et al., 1979)."""

    def __init__(self) -> None:
        self.count, self.missing, self.mean, self._squares = 0, 0, 0.0, 0.0

    def add(self, column: np.ndarray) -> None:
        """Take in numbers; NaN are missing ones."""
        there = column[~np.isnan(column)]
        self.missing += len(column) - len(there)
        if not len(there):
            return
        mean, count = float(there.mean()), self.count + len(there)
        apart = mean - self.mean
        self._squares += float(np.square(there - mean).sum())
        self._squares += apart**2 * self.count * len(there) / count
        self.mean += apart * len(there) / count
        self.count = count

    @property
    def std(self) -> float:
        """The deviation; 0 up to rounding is 0."""
        found = float(np.sqrt(self._squares / max(self.count, 1)))
        return 0.0 if found <= 1e-12 * abs(self.mean) else found


class Survey:
    """What the training rows hold.

    Args:
        roles: of the columns.
        schema: Arrow's, of the table.
        given: hashed, transforms, positive, separator and the fills that are known beforehand, as
            in `InteractionsDescription`; types, column -> "text" or "whole", of categories;
            complete, columns of numbers that may lack none.
    """

    def __init__(self, roles: Roles, schema: Any, given: Mapping[str, Any]) -> None:
        self.roles, self.given = roles, given
        self.separator = given["separator"]
        counted = [n for n in (*roles.categorical, *roles.multivalued) if n not in given["hashed"]]
        self.counts = {name: CategoryCounts(name) for name in counted}
        self.text = {
            name: _holds_text(schema.field(name).type)
            if name not in given["types"]
            else given["types"][name] == "text"
            for name in counted
        }
        self.moments = {name: Moments() for name in roles.dense}
        self.known = dict.fromkeys(roles.labels, 0)
        self.taken = dict.fromkeys(roles.labels, 0)
        self.rows = 0

    def add(self, part: Part, rows: np.ndarray) -> None:
        """Take in some rows of a part, by their numbers in it."""
        self.rows += len(rows)
        for name, counts in self.counts.items():
            where, column = f"column {name!r} of {part.file}", part.batch.column(name)
            if name in self.roles.categorical:
                found, codes = coded(column, self.text[name], where)
                counts.add(found, codes[rows])
            else:
                flat, _ = flattened(usual(column).take(rows), self.separator, where)
                counts.add(*coded(flat, self.text[name], where))
        for name, moments in self.moments.items():
            where = f"column {name!r} of {part.file}"
            column = numbers(part.batch.column(name), where, part.within)
            if name in self.given["complete"]:
                refuse_missing(column, where, part.within)  # in validation and test rows, too
            column = TRANSFORMS[self.given["transforms"].get(name, "none")](column[rows])
            if name in self.given["fills"]:
                column = np.where(np.isnan(column), self.given["fills"][name], column)
            moments.add(column)
        for name in self.known:
            where = f"column {name!r} of {part.file}"
            column = numbers(part.batch.column(name), where, part.within)
            column = labels_of(column, self.given["positive"].get(name), where, part.within)
            self.known[name] += int((~np.isnan(column[rows])).sum())
            self.taken[name] += int(np.nansum(column[rows]))

    def check(self, where: str) -> None:
        """ValueError for labels that are never known and numbers that tell nothing."""
        for name, known in self.known.items():
            if not known:
                raise ValueError(f"label {name!r} is known of no training row of {where}")
            if self.taken[name] in (0, known):
                raise ValueError(
                    f"label {name!r} is {self.taken[name] // known} in all training rows of "
                    f"{where}: a ranker learns from rows of both kinds"
                )
        require_spread(self.moments, where)


def require_spread(found: Mapping[str, Moments], where: str) -> None:
    """ValueError for a column of numbers that tells nothing."""
    for name, moments in found.items():
        if not moments.count:
            raise ValueError(
                f"column {name!r} has no number in any training row of {where}: ignore it"
            )
        if not moments.std:
            raise ValueError(
                f"column {name!r} is {moments.mean:g} in all training rows of {where} and "
                "tells nothing: ignore it"
            )


def _holds_text(data_type: Any) -> bool:
    """Whether the categories of a column (or of its lists) are texts."""
    if family(data_type) == "lists":
        data_type = data_type.value_type
    return family(data_type) != "numbers"
