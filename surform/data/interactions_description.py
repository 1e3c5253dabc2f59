"""What a ranker must know of the table it was trained on: columns, vocabularies, labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys
from surform.data.interactions_transforms import check_transforms
from surform.data.interactions_vocabulary import UNKNOWN, HashedColumn, Vocabulary

__all__ = ["UNKNOWN", "InteractionsDescription"]

_TUPLES = ("categorical", "multivalued", "dense", "labels")
_READING = ("hashed", "transforms", "positive", "separator")  # beside columns


@dataclass(frozen=True)
class InteractionsDescription(DataDescription):
    """Columns of a table of interactions and what their categories are called; plain values only.

    Args:
        categorical: columns of one category per row, in the order of the ids.
        multivalued: columns of any number of categories per row.
        dense: columns of numbers.
        labels: columns of 0 and 1, one per task.
        vocabularies: per categorical or multi-valued column, its known categories in the order of
            their ids: the first one has id 1. Id 0 is that of all others.
        group: column by which figures are also taken group by group (the user, a query); "" = none.
        transforms: per dense column, what was done before standardising: "log" is
            sign(x) log(1 + |x|), "sqrt" sign(x) sqrt(|x|); others are taken as they are.
        hashed: per categorical or multi-valued column without a vocabulary, the rows that its
            categories are hashed into; missing ones have row 0.
        fills: per dense column, what stands for a missing number, after the transform.
        positive: per label, the least value that counts as 1, of columns such as ratings.
        separator: between the categories of a multi-valued column that is text; "" = none is.
        source: provenance: "fingerprint" (sha256), "path", "rows", ...
    """

    categorical: tuple[str, ...] = ()
    multivalued: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("label",)
    vocabularies: dict[str, list[Any]] = field(default_factory=dict)
    group: str = ""
    transforms: dict[str, str] = field(default_factory=dict)
    hashed: dict[str, int] = field(default_factory=dict)
    fills: dict[str, float] = field(default_factory=dict)
    positive: dict[str, float] = field(default_factory=dict)
    separator: str = ""
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (*self.categorical, *self.multivalued, *self.dense, *self.labels)
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise ValueError(f"columns have one role each, but {', '.join(twice)} has two")
        if not columns[: len(columns) - len(self.labels)]:
            raise ValueError("a table of interactions needs some feature beside its labels")
        if not self.labels:
            raise ValueError("a table of interactions needs at least one label")
        counted = (*self.categorical, *self.multivalued)
        lacking = [n for n in counted if n not in self.vocabularies and n not in self.hashed]
        if lacking:
            raise ValueError(f"no vocabulary of {', '.join(lacking)}")
        both = [name for name in self.hashed if name in self.vocabularies]
        if both:
            raise ValueError(f"{both[0]} has a vocabulary, and is hashed too: take one")
        for what, names, among in (
            ("hashed", self.hashed, counted), ("transforms", self.transforms, self.dense),
            ("fills", self.fills, self.dense), ("positive", self.positive, self.labels),
        ):  # fmt: skip
            for name in names:
                if name not in among:
                    raise ValueError(f"{what} names {name}, but has {_listed(among)} to choose of")
        check_transforms(self.transforms)
        _ = self.numbering  # refuses vocabularies that cannot be

    @cached_property
    def numbering(self) -> dict[str, Vocabulary | HashedColumn]:
        """Per categorical or multi-valued column, what gives its categories their ids."""
        known = {name: Vocabulary(v, name) for name, v in self.vocabularies.items()}
        return known | {name: HashedColumn(rows, name) for name, rows in self.hashed.items()}

    def rows(self, name: str) -> int:
        """Rows of a column's embedding table: its categories, and the unknown one."""
        return self.numbering[name].rows

    def ids(self, name: str, categories: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Ids (int64) of a column's categories; those that are not known get id 0."""
        values = categories.tolist() if isinstance(categories, np.ndarray) else categories
        return self.numbering[name].of_values(values)

    def reads_like(self, other: InteractionsDescription) -> bool:
        """Whether a table becomes the same rows by both, wherever they are from."""
        names = (item.name for item in fields(self) if item.name != "source")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def require_match(self, found: InteractionsDescription, where: str) -> None:
        """Raise unless a table described by `found` suits a model that was trained on this.

        Raises:
            ValueError: other columns or other vocabularies; `where` names the table.
        """
        for role in (*_TUPLES, *_READING):
            mine, theirs = getattr(self, role), getattr(found, role)
            if mine != theirs:
                raise ValueError(
                    f"the model was trained with {role} {_listed(mine)}, {where} has "
                    f"{_listed(theirs)}"
                )
        for name, known in self.vocabularies.items():
            if known != found.vocabularies.get(name):
                raise ValueError(
                    f"the categories of {name} are numbered otherwise in {where} than in training: "
                    "read it with the model's vocabularies (data.vocabularies)"
                )
        if self.fills != found.fills:
            raise ValueError(
                f"the model was trained with fills {_listed(self.fills)}, {where} has "
                f"{_listed(found.fills)}: read it with the model's vocabularies"
            )

    def sizes(self) -> Mapping[str, int | tuple[str, ...] | list[int]]:
        return {
            "vocab_sizes": [self.rows(name) for name in self.categorical],
            "multi_vocab_sizes": [self.rows(name) for name in self.multivalued],
            "dense_features": self.dense,
            "tasks": self.labels,
        }

    def table(self) -> dict[str, str]:
        counted = (*self.categorical, *self.multivalued)
        sizes = ", ".join(f"{name} ({self.rows(name) - 1:,})" for name in counted)
        table = {"categories": sizes} if counted else {}
        if self.multivalued:
            table["several at once"] = ", ".join(self.multivalued)
        if self.hashed:
            table["hashed"] = ", ".join(self.hashed)
        if self.dense:
            table["numbers"] = _listed(self.dense)
        table["labels"] = _listed(self.labels)
        if self.group:
            table["groups"] = self.group
        return table | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        found = [("category", name, "") for name in self.categorical]
        found += [("categories", name, "") for name in self.multivalued]
        found += [("number", name, "") for name in self.dense]
        return found + [("label", name, "probability") for name in self.labels]

    def summary(self) -> str:
        count = len(self.categorical) + len(self.multivalued) + len(self.dense)
        return f"Gives the probability of {_listed(self.labels)} from {count} features of a row."

    def layout(self) -> str:
        return "Categories that training did not see share one row, that of unknown ones."

    def limits(self) -> str:
        return (
            "Trusted only for rows like those it was trained on: the same columns, and users and "
            "items that still behave alike. Probabilities are those of the logged policy."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InteractionsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, ("labels", "vocabularies"), "a description of interactions")
        plain: dict[str, Any] = {n: tuple(v) if n in _TUPLES else v for n, v in values.items()}
        return cls(**plain)


def _listed(names: Iterable[Any], most: int = 12) -> str:
    if isinstance(names, str):
        return repr(names)
    names = [f"{k}: {v}" for k, v in names.items()] if isinstance(names, Mapping) else list(names)
    more = f", ... ({len(names)})" if len(names) > most else ""
    return (", ".join(map(str, names[:most])) or "none") + more
