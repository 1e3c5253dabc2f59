"""Arrow columns as what is encoded: codes of different categories, numbers, lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["coded", "common_type", "family", "flattened", "numbers", "usual"]


def family(data_type: Any) -> str:
    """What a column of an Arrow type holds, in a word."""
    types = require_extra("pyarrow", "tables", "reading Arrow tables").types
    if types.is_dictionary(data_type):
        return family(data_type.value_type)
    for word, checks in (
        ("numbers", (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)),
        ("text", (types.is_string, types.is_large_string, types.is_string_view)),
        ("text", (types.is_binary, types.is_large_binary, types.is_binary_view)),
        ("lists", (types.is_list, types.is_large_list, types.is_fixed_size_list)),
        ("times", (types.is_timestamp, types.is_date)),
        ("nothing", (types.is_null,)),
    ):
        if any(check(data_type) for check in checks):
            return word
    return str(data_type)


def usual(column: Any) -> Any:
    """A column of views as one of the types that Arrow computes with; others as they are."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    types, kind = arrow.types, column.type
    if types.is_string_view(kind):
        return column.cast(arrow.large_string())
    if types.is_binary_view(kind):
        return column.cast(arrow.large_binary())
    return column


def common_type(kinds: Iterable[Any]) -> Any:
    """The Arrow type that columns of one family but of several types are cast to."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    types, found = arrow.types, list(dict.fromkeys(kinds))
    found = [kind for kind in found if not types.is_null(kind)] or found[:1]
    if len(found) == 1:
        return found[0]
    word = family(found[0])
    if word == "text":
        return arrow.large_string()
    if word == "numbers":
        whole = all(types.is_integer(kind) or types.is_boolean(kind) for kind in found)
        return arrow.int64() if whole else arrow.float64()
    if word == "times":
        zone = next((kind.tz for kind in found if types.is_timestamp(kind) and kind.tz), None)
        return arrow.timestamp("us", zone)
    if word == "lists":
        return arrow.large_list(common_type(kind.value_type for kind in found))
    return found[0]


def coded(column: Any, text: bool, where: str) -> tuple[Any, np.ndarray]:
    """The different categories of a column, and per row which one it has; -1 for missing.

    Args:
        column: an Arrow array of texts or whole numbers, dictionary-encoded or not.
        text: whether categories are wanted as texts; else as int64.
        where: names column and file in errors.

    Raises:
        ValueError: texts where whole numbers are wanted, fractions, or other things.
    """
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    kind = family(column.type)
    if kind == "nothing":
        found = arrow.array([], arrow.large_string() if text else arrow.int64())
        return found, np.full(len(column), -1, dtype=np.int32)
    if kind not in ("text", "numbers") or (kind == "text" and not text):
        held = "texts" if text else "whole numbers"
        raise ValueError(f"{where} holds {kind}, but its categories are {held}")
    if arrow.types.is_dictionary(column.type) and arrow.types.is_floating(column.type.value_type):
        column = column.dictionary_decode()
    if arrow.types.is_floating(column.type):  # NaN is missing
        column = arrow.compute.if_else(arrow.compute.is_nan(column), None, column)
    if not arrow.types.is_dictionary(column.type):
        column = usual(column).dictionary_encode()
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
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    try:
        if family(found.type) == "text":
            return found.cast(arrow.large_string())
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{where} holds text that is not UTF-8: write it in UTF-8") from error
    try:
        if not (text and arrow.types.is_unsigned_integer(found.type)):  # these may be larger
            found = found.cast(arrow.int64())
        return found.cast(arrow.large_string()) if text else found
    except arrow.ArrowInvalid as error:
        raise ValueError(
            f"{where} holds numbers that are no categories ({first_line(error)}): name it in "
            "dense, or write it as text (type: text in a schema)"
        ) from error


def numbers(column: Any, where: str, within: int = 0) -> np.ndarray:
    """A column as float64, NaN where missing.

    Args:
        where: names column and file in errors.
        within: number of its first row there.

    Raises:
        ValueError: text, or infinite numbers.
    """
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
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
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    compute, column = arrow.compute, usual(column)
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
    compute = require_extra("pyarrow.compute", "tables", "reading Arrow tables")
    found = compute.fill_null(compute.list_value_length(column), 0)
    return found.to_numpy(zero_copy_only=False).astype(np.int64)
