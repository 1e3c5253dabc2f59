"""What each column of a table of interactions is: a category, a number, a label, a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from surform.data.extras import require_extra
from surform.data.faults import closest
from surform.data.interactions_columns import family
from surform.data.interactions_log import InteractionsLog

__all__ = ["Roles", "find_roles"]

_LABELS = ("label", "click", "clicked", "target")
_TIMES = ("timestamp", "time", "datetime", "date")
_SAMPLE = 1 << 16  # rows by which whole numbers are judged
_FEW = 64  # different whole numbers are categories


@dataclass(frozen=True)
class Roles:
    """Columns by role.

    Args:
        categorical, multivalued, dense, labels: as in `InteractionsDescription`.
        time: column that rows are ordered by; None without any.
        group: column whose values make groups (users, queries); None without any.
        inferred: what was not given but found, a word and the columns.
    """

    categorical: tuple[str, ...]
    multivalued: tuple[str, ...]
    dense: tuple[str, ...]
    labels: tuple[str, ...]
    time: str | None = None
    group: str | None = None
    inferred: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def encoded(self) -> tuple[str, ...]:
        """The columns that batches are made of, each once."""
        group = (self.group,) if self.group else ()
        return tuple(
            dict.fromkeys((*self.categorical, *self.multivalued, *self.dense, *self.labels, *group))
        )

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read."""
        return tuple(dict.fromkeys((*self.encoded, *((self.time,) if self.time else ()))))


def find_roles(log: InteractionsLog, given: Mapping[str, Any]) -> Roles:
    """Roles that are given, and of the other columns those that their types tell.

    Once features of any kind are given, other columns are left out. Otherwise text and booleans are
    categories, lists are categories of which a row has several, fractions are numbers; whole
    numbers are categories where the column's name ends in "id" or at most 64 differ in the first
    65,536 rows, else numbers. Labels are called label, click, clicked or target.

    Args:
        given: categorical, multivalued, dense, labels (lists or None), time, group (names or
            None), ignore (a list).

    Raises:
        ValueError: a column that is not there, has two roles or a type that does not suit, or no
            label.
    """
    names = list(log.schema.names)
    for role in ("categorical", "multivalued", "dense", "labels", "ignore"):
        _check_names(role, given.get(role) or (), names, log.name)
    for role in ("time", "group"):
        if given.get(role) is not None:
            _check_names(role, [given[role]], names, log.name)
    inferred: dict[str, tuple[str, ...]] = {}
    labels = given.get("labels")
    if labels is None:
        labels = [name for name in names if name.casefold() in _LABELS][:1]
        if not labels:
            raise ValueError(
                f"{log.name} has no column called {', '.join(_LABELS[:-1])} or {_LABELS[-1]} (it "
                f"has {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}): give labels"
            )
        inferred["labels"] = tuple(labels)
    time = given.get("time") or _time(log, names, labels, inferred)
    features = {r: tuple(given.get(r) or ()) for r in ("categorical", "multivalued", "dense")}
    if not any(features.values()):
        left = {*labels, time, *(given.get("ignore") or ())}
        features = _by_types(log, [name for name in names if name not in left])
        inferred |= {role: found for role, found in features.items() if found}
    roles = Roles(**features, labels=tuple(labels), time=time, group=given.get("group"),
                  inferred=inferred)  # fmt: skip
    _check_once(roles, log.name)
    _check_types(log, roles, bool(given.get("separator")))
    return roles


def _check_names(role: str, given: Any, names: Sequence[str], where: str) -> None:
    if isinstance(given, str):
        raise ValueError(f"{role}: give a list of column names, got the string {given!r}")
    for name in given:
        if name not in names:
            raise ValueError(f"{where} has no column {name!r} ({role}): {closest(name, names)}")


def _time(
    log: InteractionsLog, names: Sequence[str], labels: Sequence[str], inferred: dict[str, Any]
) -> str | None:
    times = [name for name in names if family(log.schema.field(name).type) == "times"]
    times += [name for name in names if name.casefold() in _TIMES and name not in labels]
    if not times:
        return None
    inferred["time"] = (times[0],)
    return times[0]


def _by_types(log: InteractionsLog, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {"categorical": [], "multivalued": [], "dense": []}
    for name in names:
        data_type = log.schema.field(name).type
        kind = family(data_type)
        if kind in ("text", "nothing"):
            found["categorical"].append(name)
        elif kind == "lists":
            found["multivalued"].append(name)
        elif kind == "numbers":
            found["categorical" if _are_categories(log, name) else "dense"].append(name)
    if not any(found.values()):
        raise ValueError(f"{log.name} has no column that can be a feature beside its labels")
    return {role: tuple(columns) for role, columns in found.items()}


def _are_categories(log: InteractionsLog, name: str) -> bool:
    compute = require_extra("pyarrow.compute", "tables", "reading Arrow tables")
    types = require_extra("pyarrow", "tables", "reading Arrow tables").types
    data_type = log.schema.field(name).type
    if types.is_boolean(data_type):
        return True
    if not types.is_integer(data_type):
        return False
    if name.casefold().endswith("id"):
        return True
    return compute.count_distinct(log.column(name, _SAMPLE)).as_py() <= _FEW


def _check_once(roles: Roles, where: str) -> None:
    taken: dict[str, str] = {}
    for role in ("labels", "categorical", "multivalued", "dense"):
        for name in getattr(roles, role):
            if name in taken:
                raise ValueError(
                    f"column {name!r} of {where} is named in {taken[name]} and in {role}"
                    if taken[name] != role
                    else f"{role} names the column {name!r} twice"
                )
            taken[name] = role


def _check_types(log: InteractionsLog, roles: Roles, separated: bool) -> None:
    counted, group = ("text", "numbers"), (roles.group,) if roles.group else ()
    for role, names, valid, word in (
        ("labels", roles.labels, ("numbers",), "0 and 1"),
        ("dense", roles.dense, ("numbers",),
         "numbers (in text files an empty field, NULL or \\N is a missing one)"),
        ("categorical", roles.categorical, counted,
         "texts or whole numbers (with type: text in a schema, text files are read as they are)"),
        ("group", group, counted, "texts or whole numbers"),
        ("multivalued", roles.multivalued, ("lists", *(("text",) if separated else ())),
         "lists (or text, with separator)"),
    ):  # fmt: skip
        for name in names:
            found = family(log.schema.field(name).type)
            if found not in (*valid, "nothing"):
                raise ValueError(
                    f"column {name!r} of {log.name} holds {found}, but {role} must hold {word}"
                )
