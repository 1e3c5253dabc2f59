"""Text files of interactions: CSV, TSV and the like, read whole or block by block."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.extras import require_extra
from surform.data.faults import file_system, first_line, is_url

__all__ = ["TextFormat", "read_blocks", "read_text", "refuse_large", "suffix_of"]

PACKED = (".gz", ".bz2")
_MOST = 4 << 30  # bytes of text that are read into memory
_PACKING = 4  # what packing saves of a log, about
_HEAD = 1 << 20  # bytes by which a file is judged
_BLOCK = 1 << 25  # bytes that are read together; the first ones tell the types
# what a text file leaves out; "NA" and "nan" may be categories
_MISSING = ["", "\\N", "NULL", "null"]


@dataclass(frozen=True)
class TextFormat:
    """How text files are to be read.

    Args:
        delimiter: between the fields; None: tab for `.tsv`, else found in the first line.
        names: of the columns of files without a line of names.
        types: Arrow types of columns; those of others are found.
        optional: how many of the first names belong to columns that whole files may lack.
    """

    delimiter: str | None = None
    names: tuple[str, ...] | None = None
    types: Mapping[str, Any] = field(default_factory=dict)
    optional: int = 0


def read_text(path: str, text: TextFormat) -> Any:
    """A file as an Arrow table.

    Raises:
        ValueError: a file that is too large, or whose lines are no rows of one table.
    """
    csv = require_extra("pyarrow.csv", "tables", f"reading {path}")
    refuse_large(path)
    mark, names = _judged(path, text)
    options = _options(mark, names, text.types)
    try:
        with _opened(path) as file:
            try:
                return csv.read_csv(file, **options)
            except ValueError as error:
                if names is None or "columns, got" not in str(error):
                    raise
        return csv.read_csv(_padded(path, mark, names), **options)
    except Exception as error:
        raise _unreadable(path, error) from error


def read_blocks(path: str, text: TextFormat) -> Iterator[Any]:
    """The same file as record batches, of which one is in memory at a time.

    The first 32 MiB tell the types of columns that have none.
    """
    csv = require_extra("pyarrow.csv", "tables", f"reading {path}")
    mark, names = _judged(path, text)
    options = _options(mark, names, text.types, _BLOCK)
    try:
        with _opened(path) as file:
            lines = file if names is None else _Padded(file, mark.encode(), len(names))
            yield from csv.open_csv(lines, **options)
    except Exception as error:
        raise _unreadable(path, error) from error


def refuse_large(path: str) -> None:
    """ValueError for a file that had better be turned into Parquet than be held in memory."""
    if is_url(path):
        return
    packed = path.lower().endswith(PACKED)
    size = os.path.getsize(path)
    if size > (_MOST // _PACKING if packed else _MOST):
        raise ValueError(
            f"{path} has {size / 2**30:.3g} GiB{' packed' * packed}, and text is read whole: turn "
            "it into Parquet, which is read as it is needed, by "
            "surform.data.text_to_parquet(path, out)"
        )


def suffix_of(path: str) -> str:
    """The suffix of a file, without that of its packing."""
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in PACKED else suffix


def _judged(path: str, text: TextFormat) -> tuple[str, tuple[str, ...] | None]:
    """The delimiter, and the names of a file that has no line of names.

    Raises:
        ValueError: other numbers of fields and of names.
    """
    head = _head(path)
    mark = text.delimiter or _delimiter(path, head[0])
    fields, names = head[0].split(mark), text.names
    if not names or fields[0].strip('"') == names[0]:
        return mark, None  # the file has a line of names
    if len(fields) > len(names):
        raise ValueError(
            f"{path} has {len(fields)} fields in its first line, but {len(names)} names are given"
        )
    if text.optional and _widest(head, mark) == len(names) - text.optional:
        return mark, names[text.optional :]
    return mark, names


def _delimiter(path: str, line: str) -> str:
    if suffix_of(path) == ".tsv":
        return "\t"
    found = max((",", "\t", ";"), key=line.count)
    return found if found in line or "|" not in line else "|"


def _options(
    mark: str, names: Iterable[str] | None, types: Mapping[str, Any], block: int | None = None
) -> dict[str, Any]:
    csv = require_extra("pyarrow.csv", "tables", "reading text")
    return {
        "read_options": csv.ReadOptions(column_names=names, block_size=block),
        "parse_options": csv.ParseOptions(delimiter=mark),
        "convert_options": csv.ConvertOptions(
            column_types=dict(types), null_values=_MISSING, strings_can_be_null=True
        ),
    }


def _padded(path: str, mark: str, names: tuple[str, ...]) -> Any:
    """Text whose lines end early because their last fields are missing, with these as empty.

    Raises:
        ValueError: no line has all fields, so that others than the last may be missing.
    """
    with _opened(path) as file:
        lines = file.read().replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    fields, widest = len(names), _widest(lines, mark.encode())
    if widest < fields:
        raise ValueError(f"its longest line has {widest} fields, but {fields} names are given")
    whole = b"\n".join(_filled(line, mark.encode(), fields) for line in lines)
    return require_extra("pyarrow", "tables", "reading text").BufferReader(whole)


class _Padded:
    """The same while a file is read."""

    closed = False

    def __init__(self, file: Any, mark: bytes, fields: int) -> None:
        self._file, self._mark, self._fields, self._rest = file, mark, fields, b""

    def read(self, size: int) -> bytes:
        while True:
            given = self._file.read(size)
            if not given:
                last, self._rest = self._rest, b""
                return _filled(last, self._mark, self._fields) if last else b""
            *lines, self._rest = (self._rest + given).split(b"\n")
            if lines:
                filled = (_filled(x.rstrip(b"\r"), self._mark, self._fields) for x in lines)
                return b"\n".join(filled) + b"\n"


def _filled(line: bytes, mark: bytes, fields: int) -> bytes:
    return line + mark * (fields - 1 - line.count(mark)) if line else line


def _widest(lines: Iterable[Any], mark: Any) -> int:
    return 1 + max((line.count(mark) for line in lines), default=0)


def _head(path: str) -> list[str]:
    """The first lines, whole."""
    try:
        with _opened(path) as file:
            given = file.read(_HEAD)
    except OSError as error:
        raise _unreadable(path, error) from error
    lines = given.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n")
    return lines[:-1] if len(lines) > 1 else lines


def _opened(path: str) -> Any:
    """A text file, unpacked on the way."""
    arrow = require_extra("pyarrow", "tables", f"reading {path}")
    if is_url(path):
        system, inner = file_system(path)
        return system.open(inner, "rb", compression="infer")
    return arrow.input_stream(path, compression="detect")


def _unreadable(path: str, error: Exception) -> ValueError:
    return ValueError(f"cannot read {path}: {first_line(error)[:200]}")
