"""A file that says what each column of a table of interactions is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from surform.data.faults import closest, first_line, refuse_unreadable

__all__ = ["read_schema"]

_ROLES = {
    "label": "labels", "category": "categorical", "categories": "multivalued", "number": "dense",
    "time": "time", "group": "group", "ignore": "ignore",
}  # fmt: skip
_OPTIONS = {
    "label": ("positive",),
    "category": ("type", "hashed", "min_count", "group"),
    "categories": ("type", "hashed", "min_count"),
    "number": ("transform", "missing"),
}
_TYPES = ("text", "whole")


def read_schema(schema: Any) -> dict[str, Any]:
    """Options of `InteractionsData` from a mapping, or from a YAML or JSON file that holds one.

    Each column has a role: label, category, categories, number, time, group or ignore; or a mapping
    with `role` and, for categories, `type` (text, whole), `hashed`, `min_count`, `group` (true for
    the column of users or queries); for numbers `transform`, `missing`; for labels `positive`.

    Returns:
        labels, categorical, multivalued, dense, ignore, time, group, positive, hashed, min_count,
        transforms, missing, types: those that the schema says something of.

    Raises:
        ValueError: an unknown role or option, a column that is no text.
    """
    where = "schema"
    if isinstance(schema, str | os.PathLike):
        where, schema = os.fspath(schema), _loaded(os.fspath(schema))
    if not isinstance(schema, Mapping) or not schema:
        raise ValueError(f"{where} must map columns to their roles, such as {{click: label}}")
    found: dict[str, Any] = {}
    for column, given in schema.items():
        if not isinstance(column, str):
            raise ValueError(
                f"{where}: {column!r} names no column, it is no text: put it in quotes"
            )
        options = dict(given) if isinstance(given, Mapping) else {"role": given}
        role = options.pop("role", None)
        if role not in _ROLES:
            hint = closest(str(role), _ROLES)
            raise ValueError(f"{where}: column {column!r} has the role {role!r}: {hint}")
        kind = _ROLES[role]
        if kind in ("time", "group"):
            if kind in found:
                raise ValueError(f"{where}: both {found[kind]!r} and {column!r} are the {kind}")
            found[kind] = column
        else:
            found.setdefault(kind, []).append(column)
        for option, value in options.items():
            if option not in _OPTIONS.get(role, ()):
                raise ValueError(
                    f"{where}: column {column!r} has the option {option!r}: a {role} has "
                    f"{', '.join(_OPTIONS.get(role, ())) or 'none'}"
                )
            _keep(found, column, option, value, where)
    return found


def _keep(found: dict[str, Any], column: str, option: str, value: Any, where: str) -> None:
    if option == "group":
        if value:
            found["group"] = column
        return
    if option == "type" and value not in _TYPES:
        raise ValueError(f"{where}: column {column!r} has the type {value!r}: choose text or whole")
    plural = {"type": "types", "transform": "transforms"}.get(option, option)
    found.setdefault(plural, {})[column] = value


def _loaded(path: str) -> Any:
    import yaml  # reads JSON, too

    refuse_unreadable(path)
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is neither YAML nor JSON: {first_line(error)}") from error
