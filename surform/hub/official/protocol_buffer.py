"""The fields of a protocol buffer, without its schema."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "varint"]


def fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers of the fields in order, with whole numbers or bytes.

    Raises:
        IndexError: the message ends early, or has a kind of field that there is not.
    """
    at = 0
    while at < len(raw):
        tag, at = varint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(raw, at)
            yield number, value
            continue
        if kind == 2:
            size, at = varint(raw, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise IndexError(f"field {number} of a protocol buffer has the unknown kind {kind}")
        if at + size > len(raw):
            raise IndexError(f"field {number} has {size} bytes")
        part = raw[at : at + size]
        yield number, part if kind == 2 else int.from_bytes(part, "little")
        at += size


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """A whole number of seven bits in each byte, and where it ends; IndexError beyond the end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError("a number of more than ten bytes")
