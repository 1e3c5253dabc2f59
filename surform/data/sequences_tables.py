"""Tables of sequences: the official ListOps, texts with labels, pairs of texts with labels."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surform.data.faults import closest, refuse_unreadable
from surform.data.solvers.listops_trees import VOCABULARY, tokens_of

__all__ = ["BYTES", "Rows", "bytes_of", "read_table"]

BYTES = 257  # byte b is the token b + 1
_LABEL, _TEXT = ("label", "labels", "class", "category"), ("text", "source", "document")
_PAIR = (("text1", "text2"), ("first", "second"), ("document1", "document2"))
_AAN = 5  # columns of the official pairs, which have no names: label, two numbers, two texts


@dataclass
class Rows:
    """Rows of one table: their tokens, one or two sequences for each, and their labels."""

    tokens: str
    sequences: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    @property
    def vocab_size(self) -> int:
        """How many different tokens there are, padding among them."""
        return len(VOCABULARY) + 1 if self.tokens == "listops" else BYTES


def bytes_of(text: str) -> np.ndarray:
    """The bytes of a text in UTF-8 as tokens 1 to 256."""
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.uint16) + 1


def read_table(path: Path, tokens: str = "auto") -> Rows:
    """A .tsv or .csv with a line of names, or the official pairs, which have none.

    Args:
        tokens: what the texts are; "auto": pairs where there are two, else ListOps where the
            columns are Source and Target, else bytes.

    Raises:
        FileNotFoundError, OSError, ValueError: what is missing or wrong, and in which line.
    """
    refuse_unreadable(str(path))
    lines = _lines(path)
    try:
        number, names = next(lines)
    except StopIteration:
        raise ValueError(f"{path} holds no lines") from None
    columns = {name.strip().lower(): place for place, name in enumerate(names)}
    if len(names) == _AAN and not set(columns) & {*_LABEL, "target"}:
        return _filled(path, Rows("pairs"), 0, (3, 4), [(number, names)], lines)
    if {"source", "target"} <= set(columns) and tokens in ("auto", "listops"):
        places = (columns["source"],)
        return _filled(path, Rows("listops"), columns["target"], places, [], lines)
    label = _place(columns, _LABEL, path)
    pair = next((each for each in _PAIR if set(each) <= set(columns)), None)
    if pair is not None and tokens in ("auto", "pairs"):
        return _filled(path, Rows("pairs"), label, tuple(columns[n] for n in pair), [], lines)
    if tokens == "pairs":
        raise ValueError(f"{path} has no pairs: it lacks the columns text1 and text2")
    kind = "bytes" if tokens == "auto" else tokens
    return _filled(path, Rows(kind), label, (_place(columns, _TEXT, path),), [], lines)


def _place(columns: dict[str, int], names: Sequence[str], path: Path) -> int:
    found = [columns[name] for name in names if name in columns]
    if not found:
        raise ValueError(
            f"{path} lacks a column {names[0]!r} ({', '.join(names)}): {closest(names[0], columns)}"
        )
    return found[0]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    delimiter = "," if path.suffix == ".csv" else "\t"
    quoting = csv.QUOTE_MINIMAL if path.suffix == ".csv" else csv.QUOTE_NONE
    try:
        with _long_fields(), path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
            yield from ((reader.line_num, row) for row in reader if row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of UTF-8 text: {error}") from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """Documents are longer than csv's limit of a field, which holds for the whole process."""
    usual = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _filled(
    path: Path,
    rows: Rows,
    label: int,
    places: tuple[int, ...],
    first: list[tuple[int, list[str]]],
    rest: Iterator[tuple[int, list[str]]],
) -> Rows:
    """The rows of `first` and `rest`, made into tokens."""
    needed = max(label, *places) + 1
    for number, row in (*first, *rest):
        if len(row) < needed:
            raise ValueError(
                f"line {number} of {path} has {len(row)} columns, at least {needed} are needed"
            )
        for place in places:
            try:
                tokens = tokens_of(row[place]) if rows.tokens == "listops" else bytes_of(row[place])
            except ValueError as error:
                raise ValueError(f"line {number} of {path}: {error}") from None
            if not len(tokens):
                raise ValueError(f"line {number} of {path} has an empty text")
            rows.sequences.append(np.asarray(tokens, dtype=np.uint16))
        if not row[label].strip():
            raise ValueError(f"line {number} of {path} has no label")
        rows.labels.append(row[label].strip())
    if not rows.labels:
        raise ValueError(f"{path} holds no rows below its names")
    return rows
