"""Arrow columns as what is encoded: codes of different categories, numbers, lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["coded", "family", "flattened", "numbers"]


def family(data_type: Any) -> str:
    """What a column of an Arrow type holds, in a word."""
    types = require_extra("pyarrow", "tables", "Arrow tables").types
    if types.is_dictionary(data_type):
        return family(data_type.value_type)
    for word, checks in (
        ("numbers", (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)),
        ("text", (types.is_string, types.is_large_string, types.is_string_view, types.is_binary)),
        ("lists", (types.is_list, types.is_large_list, types.is_fixed_size_list)),
        ("times", (types.is_timestamp, types.is_date)),
        ("nothing", (types.is_null,)),
    ):
        if any(check(data_type) for check in checks):
            return word
    return str(data_type)


def coded(column: Any, text: bool, where: str) -> tuple[Any, np.ndarray]:
    """The different categories of a column, and per row which one it has; -1 for missing.

    Args:
        column: an Arrow array of texts or whole numbers, dictionary-encoded or not.
        text: whether categories are wanted as texts; else as int64.
        where: names column and file in errors.

    Raises:
        ValueError: texts where whole numbers are wanted, fractions, or other things.
    """
    arrow = require_extra("pyarrow", "tables", "Arrow tables")
    if arrow.types.is_floating(column.type):  # NaN is missing
        column = arrow.compute.if_else(arrow.compute.is_nan(column), None, column)
    if not arrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.cast(arrow.int32())
    if codes.null_count:
        codes = codes.fill_null(-1)
    codes, found = codes.to_numpy(zero_copy_only=False), column.dictionary
    if found.null_count:  # a dictionary may hold a missing value
        gone = int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0])
        codes = np.where(codes == gone, -1, codes)
        found = found.fill_null("" if family(found.type) == "text" else 0)
    return _categories(found, text, where), codes


def _categories(found: Any, text: bool, where: str) -> Any:
    arrow = require_extra("pyarrow", "tables", "Arrow tables")
    kind = family(found.type)
    if kind == "nothing":
        return found.cast(arrow.large_string() if text else arrow.int64())
    if kind not in ("text", "numbers") or (kind == "text" and not text):
        held = "texts" if text else "whole numbers"
        raise ValueError(f"{where} holds {kind}, but its categories are {held}")
    try:
        if kind == "numbers":
            found = found.cast(arrow.int64())
        return found.cast(arrow.large_string()) if text else found
    except arrow.ArrowInvalid as error:
        raise ValueError(
            f"{where} holds numbers that are no categories ({first_line(error)}): name it in "
            "dense, or write it as text"
        ) from error


def numbers(column: Any, where: str, within: int = 0) -> np.ndarray:
    """A column as float64, NaN where missing.

    Args:
        where: names column and file in errors.
        within: number of its first row there.

    Raises:
        ValueError: text, or infinite numbers.
    """
    arrow = require_extra("pyarrow", "tables", "Arrow tables")
    if family(column.type) not in ("numbers", "nothing"):
        raise ValueError(f"{where} holds {family(column.type)}, not numbers")
    if arrow.types.is_boolean(column.type):
        column = column.cast(arrow.uint8())
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    found = column.cast(arrow.float64()).to_numpy(zero_copy_only=False)
    wrong = np.isinf(found)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {within + row} has {found[row]} in {where}, but numbers are finite")
    return found


def flattened(column: Any, separator: str, where: str) -> tuple[Any, np.ndarray]:
    """The categories of all rows of a multi-valued column in turn, and how many each row has.

    Raises:
        ValueError: neither lists, nor text where there is a separator.
    """
    arrow = require_extra("pyarrow", "tables", "Arrow tables")
    compute = arrow.compute
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = family(column.type)
    if kind == "nothing":
        return arrow.array([], arrow.large_string()), np.zeros(len(column), dtype=np.int64)
    if kind == "text" and separator:
        column = compute.split_pattern(column, separator)
        flat = column.flatten()
        kept = compute.not_equal(flat, "").to_numpy(zero_copy_only=False)
        lengths = _lengths(column)
        if not kept.all():  # "" and "a||b" have no category there
            owner = np.repeat(np.arange(len(lengths)), lengths)
            lengths = np.bincount(owner[kept], minlength=len(lengths))
            flat = flat.filter(arrow.array(kept))
        return flat, lengths
    if kind != "lists":
        raise ValueError(f"{where} holds {kind}, but multi-valued columns hold lists")
    return column.flatten(), _lengths(column)


def _lengths(column: Any) -> np.ndarray:
    compute = require_extra("pyarrow.compute", "tables", "Arrow tables")
    found = compute.fill_null(compute.list_value_length(column), 0)
    return found.to_numpy(zero_copy_only=False).astype(np.int64)
