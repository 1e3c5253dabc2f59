"""What stays the same along a series: numbers, and categories as columns of ones and zeros."""

from __future__ import annotations

import numpy as np

from surform.data.series_raw import RawTable
from surform.data.series_roles import Roles, text_column
from surform.data.series_table import Span

__all__ = ["static_covariates"]

_MOST = 100  # categories of a column


def static_covariates(
    raw: RawTable, roles: Roles, spans: list[Span]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The static covariates `(series, S)`, and their names; a column of text gives several.

    Raises:
        ValueError: one that changes along a series or is missing, a category that was not asked
            for, or too many; names row and value.
    """
    first = len(roles.variates) + len(roles.known)
    numbers = [name for name in roles.static if text_column(name, roles.texts) is None]
    categories = {name: _categories(raw, roles, spans, name) for name in roles.texts}
    columns: dict[str, np.ndarray] = {}
    for name in roles.static:
        column = text_column(name, roles.texts)
        if column is None:
            columns[name] = _numbers(raw, roles, spans, name, first + numbers.index(name))
        elif name == column:
            for category in sorted(set(categories[column])):
                columns[f"{column}={category}"] = _indicator(categories[column], category)
        else:
            columns[name] = _indicator(categories[column], name.removeprefix(f"{column}="))
    _refuse_new(raw, roles, spans, categories, columns)
    table = np.stack(list(columns.values()), 1) if columns else np.empty((len(spans), 0))
    return table, tuple(columns)


def _indicator(found: list[str], category: str) -> np.ndarray:
    return np.array([float(value == category) for value in found])


def _numbers(raw: RawTable, roles: Roles, spans: list[Span], name: str, column: int) -> np.ndarray:
    found = np.empty(len(spans))
    for number, span in enumerate(spans):
        rows = raw.values[span.start : span.end, column]
        found[number] = rows[0]
        other = ~(rows == rows[0])
        if other.any():
            row = int(np.argmax(other))
            if not np.isfinite(rows[row]):
                raise ValueError(_missing(raw, span.start + row, name))
            raise ValueError(
                f"{raw.name}, {raw.place(span.start + row)}: the static covariate {name!r}"
                f"{_of(roles, span)} is {rows[row]:g}, but {rows[0]:g} before"
            )
    return found


def _categories(raw: RawTable, roles: Roles, spans: list[Span], name: str) -> list[str]:
    """Of each series, as text."""
    found = []
    for span in spans:
        rows = raw.labels[name][span.start : span.end].tolist()
        texts = ["" if v is None or v != v else str(v).strip() for v in rows]
        found.append(texts[0])
        for row, text in enumerate(texts):
            if not text:
                raise ValueError(_missing(raw, span.start + row, name))
            if text != texts[0]:
                raise ValueError(
                    f"{raw.name}, {raw.place(span.start + row)}: the static covariate {name!r}"
                    f"{_of(roles, span)} is {text!r}, but {texts[0]!r} before"
                )
    if len(set(found)) > _MOST:
        raise ValueError(
            f"column {name!r} of {raw.name} has {len(set(found))} categories: as a static "
            f"covariate it may have {_MOST}, group them or leave it out"
        )
    return found


def _refuse_new(
    raw: RawTable,
    roles: Roles,
    spans: list[Span],
    categories: dict[str, list[str]],
    columns: dict[str, np.ndarray],
) -> None:
    for name, found in categories.items():
        for span, category in zip(spans, found, strict=True):
            if f"{name}={category}" not in columns:
                known = [c[len(name) + 1 :] for c in columns if c.startswith(f"{name}=")]
                raise ValueError(
                    f"{raw.name}: {name}{_of(roles, span)} is {category!r}, which is none of the "
                    f"categories of training: {', '.join(known)}"
                )


def _missing(raw: RawTable, row: int, name: str) -> str:
    return f"{raw.name}, {raw.place(row)}: the static covariate {name!r} is missing"


def _of(roles: Roles, span: Span) -> str:
    return f" of series {span.id!r}" if roles.id is not None else ""
