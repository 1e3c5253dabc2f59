"""Damage to bytes: bits, blocks, ends, and the numbers that tell lengths and places."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

__all__ = ["damaged_bytes"]

_HEADER = 512  # bytes in which most formats tell their lengths
_NUMBERS = (0, 1, -1, 0x7F, 0xFF, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
_NUMBERS += (2**63 - 1, 2**63)


def damaged_bytes(content: bytes, draw: Random) -> bytes:
    """One fault; an empty file gets some bytes."""
    if not content:
        return draw.randbytes(16)
    return draw.choice(_FAULTS)(bytearray(content), draw)


def _place(content: bytearray, draw: Random) -> int:
    """Half of the faults are in the header, a fifth at the end, where zip has its table."""
    where, size = draw.random(), len(content)
    if where < 0.5:
        return draw.randrange(min(size, _HEADER))
    return draw.randrange(max(0, size - _HEADER), size) if where < 0.7 else draw.randrange(size)


def _flip(content: bytearray, draw: Random) -> bytes:
    for _ in range(draw.choice((1, 1, 1, 4, 16))):
        content[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(content)


def _replace(content: bytearray, draw: Random) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 8))):
        content[_place(content, draw)] = draw.choice((0, 0xFF, 0x7F, 0x80, draw.randrange(256)))
    return bytes(content)


def _truncate(content: bytearray, draw: Random) -> bytes:
    return bytes(content[: draw.randrange(len(content))])


def _blank(content: bytearray, draw: Random) -> bytes:
    place, count = _place(content, draw), draw.choice((4, 16, 64, 512, 4096))
    end = min(len(content), place + count)
    content[place:end] = bytes(end - place)
    return bytes(content)


def _cut(content: bytearray, draw: Random) -> bytes:
    place = _place(content, draw)
    del content[place : place + draw.choice((1, 2, 4, 8, 64, 512))]
    return bytes(content)


def _copy(content: bytearray, draw: Random) -> bytes:
    source, place = _place(content, draw), _place(content, draw)
    block = content[source : source + draw.choice((1, 4, 8, 64, 512))]
    if draw.random() < 0.5:
        content[place:place] = block
    else:
        content[place : place + len(block)] = block
    return bytes(content)


def _number(content: bytearray, draw: Random) -> bytes:
    """A whole number of 1 to 8 bytes becomes a special one, in either order of bytes."""
    code, size = draw.choice((("B", 1), ("H", 2), ("I", 4), ("I", 4), ("Q", 8), ("Q", 8)))
    place = _place(content, draw)
    place -= place % size if draw.random() < 0.8 else 0
    value = draw.choice(_NUMBERS) % (1 << 8 * size)
    content[place : place + size] = struct.pack(draw.choice("<>") + code, value)
    return bytes(content)


def _change(content: bytearray, draw: Random) -> bytes:
    """A whole number becomes a little larger or smaller, or many times as large."""
    code, size = draw.choice((("<H", 2), ("<I", 4), (">I", 4), ("<Q", 8)))
    place = _place(content, draw)
    place -= place % size
    if place + size <= len(content):
        (value,) = struct.unpack_from(code, content, place)
        value = draw.choice((value + 1, value - 1, 2 * value, 1000 * value)) % (1 << 8 * size)
        struct.pack_into(code, content, place, value)
    return bytes(content)


def _append(content: bytearray, draw: Random) -> bytes:
    return bytes(content) + draw.randbytes(draw.choice((1, 16, 512)))


_FAULTS: tuple[Callable[[bytearray, Random], bytes], ...] = (
    _flip,
    _flip,
    _replace,
    _truncate,
    _blank,
    _cut,
    _copy,
    _number,
    _number,
    _change,
    _append,
)
