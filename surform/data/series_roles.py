"""Which column is the time, which names the series, which are forecast, which are given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from surform.data.faults import closest, command_line
from surform.data.series_raw import Kind

__all__ = ["Roles", "find_roles", "text_column"]

_TIME_NAMES = ("date", "time", "timestamp", "ds", "datetime")


@dataclass(frozen=True)
class Roles:
    """The columns of a table by what they are for; `time` and `id` are None where there is none.

    `texts` are columns of text behind static covariates: "region" stands for one covariate per
    category, "region=north" for one of them.
    """

    time: str | None
    id: str | None
    variates: tuple[str, ...]
    targets: tuple[str, ...]
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns read as numbers: variates, known, static."""
        static = (name for name in self.static if text_column(name, self.texts) is None)
        return (*self.variates, *self.known, *static)

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of times, names and categories."""
        return tuple(name for name in (self.time, self.id, *self.texts) if name is not None)


def text_column(name: str, texts: Collection[str]) -> str | None:
    """The column of text that a static covariate is made from; None for one of numbers."""
    if name in texts:
        return name
    return max((text for text in texts if name.startswith(f"{text}=")), key=len, default=None)


def find_roles(
    kinds: Mapping[str, Kind],
    where: str,
    *,
    time: str | None = None,
    id: str | None = None,
    variates: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    timed: bool = True,
    constant: Sequence[str] = (),
) -> Roles:
    """Give each column its role.

    Args:
        kinds: the columns, in order.
        where: names the table in errors.
        time: the time column; None: called date, time, timestamp, ds or datetime, else the only
            one that holds times.
        id: the column that names the series; None: one series.
        variates: columns of the history; None: all numbers that are nothing else.
        targets: which of them are forecast; None: all.
        known: covariates known ahead.
        static: covariates constant along a series, numbers or categories: a column of text, or
            one of its categories as "column=category".
        timed: whether a table without a time column is an error.
        constant: columns that have no time: they can be static covariates only.

    Raises:
        ValueError: an unknown column, one with two roles, text where numbers are needed.
    """
    text = [name for name, kind in kinds.items() if kind == "text"]
    indicated = [name for name in static if name not in kinds and text_column(name, text)]
    columns = [text_column(name, text) for name in static if name in indicated or name in text]
    texts = tuple(dict.fromkeys(column for column in columns if column is not None))
    for role, names in (
        ("time", [time]), ("id", [id]), ("variate", variates), ("known covariate", known),
        ("static covariate", static),
    ):  # fmt: skip
        for name in names or ():
            if name is not None and name not in kinds and name not in indicated:
                raise ValueError(f"{where} has no {role} {name!r}: {closest(name, kinds)}")
    if time is None:
        time = _time_column(kinds, where, {*known, *static, *(variates or ()), id}, timed)
    taken = {time: "time", id: "id"}
    fixed = [name for name in static if name not in indicated and name not in texts]
    for role, names in (
        ("variates", variates or ()), ("known", known), ("static", (*fixed, *texts)),
    ):  # fmt: skip
        for name in names:
            if name in taken:
                raise ValueError(
                    f"column {name!r} of {where} cannot be both {taken[name]} and {role}"
                )
            taken[name] = role
    if variates is None:
        variates = _all_numbers(kinds, where, taken | dict.fromkeys(constant, "static"))
    for name in (*variates, *known):
        if name in constant:
            raise ValueError(f"column {name!r} of {where} has no time: it can be static only")
    for name in (*variates, *known, *static):
        if text_column(name, texts) is None and kinds[name] in ("text", "time"):
            raise ValueError(f"column {name!r} of {where} holds {kinds[name]}, not numbers")
    targets = tuple(variates) if targets is None else tuple(targets)
    for name in targets:
        if name not in variates:
            raise ValueError(f"{where} has no target {name!r}: {closest(name, variates)}")
    if not targets:
        raise ValueError(f"no column of {where} is to be forecast: targets is empty")
    for role, names in (("targets", targets), ("static", static)):
        if len(set(names)) != len(names):
            raise ValueError(f"{role} names a column twice: {', '.join(names)}")
    return Roles(time, id, tuple(variates), targets, tuple(known), tuple(static), texts)


def _time_column(
    kinds: Mapping[str, Kind], where: str, others: set[str | None], timed: bool
) -> str | None:
    free = [name for name in kinds if name not in others]
    folded = {name.casefold(): name for name in reversed(free)}
    for name in _TIME_NAMES:
        if name in folded:
            return folded[name]
    times = [name for name in free if kinds[name] == "time"]
    if len(times) == 1:
        return times[0]
    if times:
        raise ValueError(
            f"{where} has several columns of times ({', '.join(times)}): give time "
            f"({command_line(time=times[0])})"
        )
    if timed:
        raise ValueError(
            f"{where} has no column of times ({', '.join(list(kinds)[:8])}"
            f"{', ...' if len(kinds) > 8 else ''}): give time, or step: '' for rows without times "
            f"({command_line(step='', marks=False)})"
        )
    return None


def _all_numbers(
    kinds: Mapping[str, Kind], where: str, taken: Mapping[str | None, str]
) -> tuple[str, ...]:
    free = {name: kind for name, kind in kinds.items() if name not in taken}
    for name, kind in free.items():
        if kind in ("text", "time"):
            raise ValueError(
                f"column {name!r} of {where} holds {kind}, not numbers: name the variates, or "
                f"give it as {'id' if kind == 'text' else 'time'}"
            )
    if not free:
        raise ValueError(f"{where} has no column of numbers")
    return tuple(free)
