"""Damage to text: numbers, fields, lines, and characters that matter to parsers."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

__all__ = ["WORDS", "damaged_text"]

WORDS = (
    "", "nan", "NaN", "inf", "-inf", "-1", "0", "-0", "1e400", "-1e400", "1e-400", "1e308", "x",
    "9" * 20, "9" * 400, "1.5", "-7", "0x10", "1_000", "1,5", "null", "None", "true", "[]", "{}",
    "٣", "é", "2020-13-45", "9999999-01-01", " ", "\t", '"', "4294967296", "18446744073709551616",
)  # fmt: skip
_MARKS = (",", ";", "\t", " ", "=", ":", '"', "'", "{", "}", "[", "]", "#", "\n", "\r", "\\", "\0")
_MARKS += ("\ufeff", "\x1a", "|", "%", "&", "*", "!", "<", ">", "- ", "\u2028")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"\w+")
_FIELD = re.compile(r"[,;\t|= ]")


def damaged_text(text: str, draw: Random) -> str:
    """One fault."""
    return draw.choice(_FAULTS)(text, draw)


def _number(text: str, draw: Random) -> str:
    return _other(text, draw, _NUMBER)


def _word(text: str, draw: Random) -> str:
    return _other(text, draw, _WORD)


def _other(text: str, draw: Random, pattern: re.Pattern[str]) -> str:
    """One match becomes another word, mostly a strange one, at times one of the same text."""
    start = 0 if draw.random() < 0.4 else draw.randrange(len(text) + 1)
    found = [match for match, _ in zip(pattern.finditer(text, start), range(40), strict=False)]
    if not found:
        return text + draw.choice(WORDS)
    chosen = draw.choice(found)
    new = draw.choice(found).group() if draw.random() < 0.2 else draw.choice(WORDS)
    return text[: chosen.start()] + new + text[chosen.end() :]


def _mark(text: str, draw: Random) -> str:
    place = draw.randrange(len(text) + 1)
    return text[:place] + draw.choice(_MARKS) + text[place + draw.choice((0, 1)) :]


def _lines(text: str, draw: Random) -> str:
    """Lines are swapped, removed, doubled, joined or emptied."""
    lines = text.split("\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(5)
    if kind == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif kind == 1:
        del lines[a]
    elif kind == 2:
        lines.insert(b, lines[a])
    elif kind == 3:
        lines[a] = ""
    else:
        lines[a : a + 2] = ["".join(lines[a : a + 2])]
    return "\n".join(lines)


def _fields(text: str, draw: Random) -> str:
    """The fields of a line are swapped, one is removed or doubled."""
    lines = text.split("\n")
    at = 0 if draw.random() < 0.3 else draw.randrange(len(lines))
    mark = _FIELD.search(lines[at])
    if mark is None:
        return _mark(text, draw)
    fields = lines[at].split(mark.group())
    a, b = draw.randrange(len(fields)), draw.randrange(len(fields))
    kind = draw.randrange(3)
    if kind == 0:
        fields[a], fields[b] = fields[b], fields[a]
    elif kind == 1:
        del fields[a]
    else:
        fields.insert(a, fields[b])
    lines[at] = mark.group().join(fields)
    return "\n".join(lines)


def _indent(text: str, draw: Random) -> str:
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    lines[at] = draw.choice((" ", "  ", "\t")) + lines[at]
    return "\n".join(lines)


def _truncate(text: str, draw: Random) -> str:
    return text[: draw.randrange(len(text) + 1)]


def _deep(text: str, draw: Random) -> str:
    """Thousands of brackets, on which recursive parsers run out of stack."""
    place = draw.choice((0, draw.randrange(len(text) + 1)))
    return text[:place] + draw.choice(("[", "{", '{"a":', "(", "- ")) * 20000 + text[place:]


_FAULTS: tuple[Callable[[str, Random], str], ...] = (
    _number,
    _number,
    _number,
    _word,
    _word,
    _mark,
    _mark,
    _lines,
    _lines,
    _fields,
    _fields,
    _indent,
    _truncate,
    _deep,
)
