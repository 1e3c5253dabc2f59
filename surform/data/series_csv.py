"""CSV and other delimited text, with nothing but the standard library and NumPy."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import itemgetter
from typing import IO, Any

import numpy as np

from surform.data.faults import command_line, is_url, parsing, refuse_unreadable
from surform.data.series_raw import Kind, RawTable
from surform.data.series_space import Space
from surform.data.series_times import looks_like_time

__all__ = ["MISSING", "CsvTable"]

# What stands for "no value", in any case.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-nan", "#n/a", "<na>"})
_TRUTH = {"true": 1.0, "false": 0.0}

_DELIMITERS = (";", "\t", "|", ",")  # 2020-01-01;1,5 is cut at the semicolon
_DECIMALS = (".", ",")
_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSAND = re.compile(r"[+-]?\d{1,3},\d{3}")
_BLOCK_FIELDS = 1 << 18
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)  # of packed files


class CsvTable:
    """A delimited text file with one line of column names, or none.

    Args:
        path: local file or URL; `.gz`, `.bz2` and `.xz` are unpacked on the way.
        delimiter: between the fields; None finds it among comma, semicolon, tab and bar.
        header: whether the first line holds names; None: unless all of it are numbers. Without
            names columns are called "0", "1", ...
        decimal: mark of decimals, "." or ","; None finds it in the first 200 rows.
    """

    def __init__(
        self,
        path: str,
        delimiter: str | None = None,
        header: bool | None = None,
        decimal: str | None = None,
    ) -> None:
        if decimal not in (None, *_DECIMALS):
            raise ValueError(f"decimal={decimal!r}: choose '.' or ','")
        refuse_unreadable(path)
        self.name = path
        self.defaults: dict[str, Any] = {}
        with parsing(path):
            head = self._head(202)
        if not head:
            raise ValueError(f"{path} is empty: it has no line of column names")
        with parsing(path):  # a field may be longer than the module takes
            self.delimiter = delimiter or _delimiter(head)
            rows = [row for row in csv.reader(head, delimiter=self.delimiter) if row]
        self.decimal = decimal or _decimal(rows, path)
        first, *sample = rows
        self.header = not all(map(self._is_number, first)) if header is None else header
        self.names = (
            tuple(name.strip() for name in first)
            if self.header
            else tuple(str(i) for i in range(len(first)))
        )
        self._sample = sample if self.header else [first, *sample]
        if not self.header:
            self.defaults["timed"] = False  # bare numbers: there may be no times at all
        self._check_names(head[0], delimiter)

    def kinds(self) -> Mapping[str, Kind]:
        """Names and kinds of the columns, judged by the first 200 rows."""
        columns = zip(*(row for row in self._sample if len(row) == len(self.names)), strict=True)
        found: dict[str, Kind] = dict.fromkeys(self.names, "empty")
        found.update((n, self._kind(v)) for n, v in zip(self.names, columns, strict=False))
        return found

    def read(self, numbers: Sequence[str], labels: Sequence[str], space: Space) -> RawTable:
        """Read the columns; a field that is no number is named with its line."""
        skipped: list[int] = []
        blocks: list[np.ndarray] = []
        texts: dict[str, list[str]] = {name: [] for name in labels}
        places = [self.names.index(name) for name in numbers]
        label_places = {name: self.names.index(name) for name in labels}
        kinds, lead = self.kinds(), 1 if self.header else 0

        def place(row: int) -> str:
            line = row + 1 + lead
            for gap in skipped:
                line += gap <= line
            return f"line {line}"

        done = 0
        for rows in self._blocks(skipped):
            self._check_widths(rows, done, place)
            blocks.append(self._numbers(rows, places, done, place).astype(space.dtype, copy=False))
            for name, column in label_places.items():
                texts[name] += [row[column] for row in rows]
            done += len(rows)
        if not done:
            raise ValueError(f"{self.name} has column names but no rows")
        values = _joined(blocks, space)
        for name in labels:
            if self.decimal == "," and kinds[name] == "number":  # model time, a depth
                texts[name] = [text.replace(",", ".") for text in texts[name]]
        found = {name: np.array(column, dtype=object) for name, column in texts.items()}
        return RawTable(self.name, tuple(numbers), values, found, place=place)

    # -- parts -------------------------------------------------------------------------------

    def _check_names(self, line: str, asked: str | None) -> None:
        if asked is not None and len(self.names) == 1:
            other = next((d for d in _DELIMITERS if d != asked and d in line), None)
            if other is not None:
                raise ValueError(
                    f"{self.name} has one column when cut at {asked!r}: its first line "
                    f"{line.strip()[:60]!r} looks cut at {other!r}; give delimiter: {other!r} "
                    f"({command_line(delimiter=other)})"
                )
        seen: set[str] = set()
        for number, name in enumerate(self.names, start=1):
            if not name:
                raise ValueError(f"{self.name}: column {number} of {len(self.names)} has no name")
            if name in seen:
                raise ValueError(f"{self.name} has two columns called {name!r}")
            seen.add(name)

    def _blocks(self, skipped: list[int]) -> Iterator[list[list[str]]]:
        size = max(1, _BLOCK_FIELDS // len(self.names))
        with parsing(self.name), _text(self.name) as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            rows = _filled(reader, skipped)
            if self.header:
                next(rows, None)
            try:
                while block := list(islice(rows, size)):
                    yield block
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.name} is not text in UTF-8: {error.reason}") from None
            except csv.Error as error:
                raise ValueError(f"{self.name}, line {reader.line_num}: {error}") from None
            except _DAMAGE as error:
                raise ValueError(f"{self.name} is a damaged archive: {error}") from None

    def _check_widths(self, rows: list[list[str]], done: int, place: Any) -> None:
        width = len(self.names)
        for number, row in enumerate(rows):
            if len(row) != width:
                raise ValueError(
                    f"{self.name}, {place(done + number)}: {len(row)} fields, but the first line "
                    f"has {width}; was the file cut off?"
                )

    def _numbers(
        self, rows: list[list[str]], places: list[int], done: int, place: Any
    ) -> np.ndarray:
        if not places:
            return np.empty((len(rows), 0))
        pick = itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
        count = len(rows) * len(places)
        fields: Iterable[str] = chain.from_iterable(map(pick, rows))
        if self.decimal == ",":
            fields = map(_with_point, fields)
        try:
            flat = np.fromiter(map(float, fields), float, count)
        except ValueError:
            flat = np.fromiter(self._slowly(rows, places, done, place), float, count)
        return flat.reshape(len(rows), len(places))

    def _slowly(
        self, rows: list[list[str]], places: list[int], done: int, place: Any
    ) -> Iterator[float]:
        """Field by field: missing values become NaN, other text is named."""
        for number, row in enumerate(rows):
            for column in places:
                field = row[column].strip()
                try:
                    yield self._number(field) if field.casefold() not in MISSING else np.nan
                except ValueError:
                    raise ValueError(
                        f"{self.name}, {place(done + number)}, column {self.names[column]!r}: "
                        f"{field[:40]!r} is not a number{self._hint(field)}"
                    ) from None

    def _number(self, text: str) -> float:
        truth = _TRUTH.get(text.strip().casefold())
        if truth is not None:
            return truth
        return float(_with_point(text) if self.decimal == "," else text)

    def _is_number(self, text: str) -> bool:
        try:
            self._number(text)
        except ValueError:
            return text.strip().casefold() in MISSING
        return True

    def _kind(self, values: Iterable[str]) -> Kind:
        filled = [v.strip() for v in values if v.strip().casefold() not in MISSING]
        if not filled:
            return "empty"
        # one bad field in a column of numbers is better named than taken for text
        numbers = sum(map(self._is_number, filled))
        if 2 * numbers > len(filled):
            return "number"
        return "time" if 2 * sum(map(looks_like_time, filled)) > len(filled) else "text"

    def _hint(self, field: str) -> str:
        if self.decimal == "," and "." in field:
            return "; decimals have a comma here: write no points, not between thousands either"
        if self.decimal == "." and _COMMA.fullmatch(field):
            return (
                f"; write decimals with a point, or give decimal: ',' ({command_line(decimal=',')})"
            )
        return ""

    def _head(self, lines: int) -> list[str]:
        try:
            with _text(self.name) as file:
                found = list(islice((line for line in file if line.strip()), lines))
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.name} is not text in UTF-8: {error.reason}") from None
        except _DAMAGE as error:
            raise ValueError(f"{self.name} is a damaged archive: {error}") from None
        if any("\0" in line for line in found):
            raise ValueError(f"{self.name} is not text: it holds zero bytes")
        return found


def _joined(blocks: list[np.ndarray], space: Space) -> np.ndarray:
    """The blocks as one array; each is let go as soon as it is copied."""
    if len(blocks) == 1:
        return blocks[0]
    values = space.empty(sum(map(len, blocks)), blocks[0].shape[1])
    row = 0
    for number, block in enumerate(blocks):
        values[row : row + len(block)] = block
        row += len(block)
        blocks[number] = block[:0]
    return values


@contextmanager
def _text(path: str) -> Iterator[IO[str]]:
    """The file as text; a byte-order mark is dropped."""
    options: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "newline": ""}
    if is_url(path):
        import fsspec

        remote: Any = fsspec.open(path, compression="infer", **options)
        try:
            opened = remote.open()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"no data at {path}") from error
        with opened as file:
            yield file
        return
    opener = _OPENERS.get(os.path.splitext(path)[1].lower(), open)
    with opener(path, **options) as file:
        yield file


def _filled(reader: Any, skipped: list[int]) -> Iterator[list[str]]:
    for row in reader:
        if row:
            yield row
        else:
            skipped.append(reader.line_num)


def _delimiter(head: list[str]) -> str:
    """The delimiter that cuts the first lines into the most fields, always as many."""
    best, fields = ",", 1
    for delimiter in _DELIMITERS:
        counts = {len(row) for row in csv.reader(head[:20], delimiter=delimiter) if row}
        if len(counts) == 1 and max(counts) > fields:
            best, fields = delimiter, max(counts)
    return best


def _with_point(field: str) -> str:
    """As `float` reads it; a point, which a decimal comma rules out, is made unreadable."""
    return field.replace(".", "x").replace(",", ".")


def _decimal(rows: Sequence[Sequence[str]], path: str) -> str:
    """The mark of decimals: the comma where most fields that have one are written with it.

    Raises:
        ValueError: all of them could be thousands as well.
    """
    fields = [field.strip() for row in rows for field in row]
    commas = [field for field in fields if _COMMA.fullmatch(field)]
    if not commas:
        return "."
    points = sum(field.count(".") == 1 and _is_float(field) for field in fields)
    if len(commas) <= points:
        return "."
    if all(map(_THOUSAND.fullmatch, commas)):
        raise ValueError(
            f"{path}: {commas[0]!r} could be a decimal or thousands: give decimal: ',' "
            f"({command_line(decimal=',')}) for the former, and write thousands without a mark"
        )
    return ","


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
