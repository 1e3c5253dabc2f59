"""Arrays of numbers in MATLAB files of level 5, which its versions 5 to 7.2 write.

scipy reads these files, too, but trusts them: codes of types that are none end the whole process.

Source: MathWorks, "MAT-File Format" (R2023b), chapter 1.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["is_level_5", "level_5_arrays"]

_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_MATRIX, _PACKED = 14, 15
_FLAGS, _SIZES, _NAMES = (6,), (5, 6), (1, 2, 16)  # types of what stands before the numbers
_NUMBERS = range(6, 16)  # classes of arrays: double, single, whole numbers of 8 to 64 bits
_COMPLEX = 0x800
_HEADER, _TAG = 128, 8  # bytes
_MOST_AXES = 32


class _Element(NamedTuple):
    kind: int
    data: memoryview
    end: int  # where the next one begins


def is_level_5(path: Path) -> bool:
    """Whether a file says so; those of level 4 have a zero among their first four bytes.

    Raises:
        ValueError: a MATLAB file of no known level.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if 0 in head[:4]:
        return False
    if len(head) < _HEADER or head[126:] not in (b"IM", b"MI"):
        raise ValueError("it does not begin as a MATLAB file does")
    return True


def level_5_arrays(path: Path) -> dict[str, np.ndarray]:
    """Real arrays of numbers by name, read-only and of the types they are stored in.

    Texts, structures, cells, sparse and complex arrays are left out.

    Raises:
        ValueError: truncated or damaged, and at which byte.
    """
    size, found = path.stat().st_size, {}
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER)[126:] == b"IM" else ">"
        while (at := file.tell()) < size:
            tag = file.read(_TAG)
            kind, length = struct.unpack(order + "II", tag) if len(tag) == _TAG else (0, size)
            if length > size - at - _TAG:
                raise ValueError(f"the file ends within the variable at byte {at}")
            try:
                body = _matrix(kind, file.read(length), order)
                found |= _named(body, order)
            except ValueError as error:
                raise ValueError(f"in the variable at byte {at} {error}") from error
    return found


def _matrix(kind: int, data: bytes, order: str) -> memoryview:
    """What an array consists of, unpacked."""
    if kind == _PACKED:
        kind, data = _unpacked(data, order)
    if kind != _MATRIX:
        raise ValueError(f"the type is {kind}, a variable has {_MATRIX} or {_PACKED}")
    return memoryview(data)


def _unpacked(data: bytes, order: str) -> tuple[int, bytes]:
    """The type and the content of a packed element; never more bytes than its tag says."""
    stream = zlib.decompressobj()
    try:
        kind, length = struct.unpack(order + "II", stream.decompress(data, _TAG))
        content = stream.decompress(stream.unconsumed_tail, max(length, 1))
        stream.decompress(stream.unconsumed_tail, 1)  # the sum of all bytes, which is compared
    except (zlib.error, struct.error) as error:
        raise ValueError(f"the packed bytes are damaged: {error}") from error
    if len(content) != length or not stream.eof:
        raise ValueError(f"the packed bytes are not the {length} that their tag says")
    return kind, content


def _named(body: memoryview, order: str) -> dict[str, np.ndarray]:
    """An array by its name; none for what is no real array of numbers."""
    flags = _element(body, 0, order)
    first = _values(flags, _FLAGS, order, "flags")
    if len(first) != 2:
        raise ValueError(f"there are {len(first)} flags, two are due")
    if int(first[0]) & 0xFF not in _NUMBERS or int(first[0]) & _COMPLEX:
        return {}
    sizes = _element(body, flags.end, order)
    name = _element(body, sizes.end, order)
    shape = tuple(_values(sizes, _SIZES, order, "sizes of axes").tolist())
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
        raise ValueError(f"the sizes of its {len(shape)} axes are {shape[:_MOST_AXES]}")
    values = _values(_element(body, name.end, order), tuple(_TYPES), order, "numbers")
    if len(values) != math.prod(shape):
        raise ValueError(f"there are {len(values)} numbers, its axes have the sizes {shape}")
    label = _values(name, _NAMES, order, "name").tobytes().decode("latin-1")
    return {label: values.reshape(shape, order="F")} if label else {}  # nameless ones are MATLAB's


def _element(body: memoryview, at: int, order: str) -> _Element:
    """The data element at a byte; up to four bytes lie within its tag."""
    if at + _TAG > len(body):
        raise ValueError("data are missing at the end")
    kind, size = struct.unpack_from(order + "II", body, at)
    start, end = at + _TAG, at + _TAG + size + -size % 8
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        start, end = at + 4, at + _TAG
    if start + size > min(end, len(body)):
        raise ValueError(f"{size} bytes are said to follow where there are fewer")
    return _Element(kind, body[start : start + size], end)


def _values(element: _Element, kinds: tuple[int, ...], order: str, what: str) -> np.ndarray:
    if element.kind not in kinds:
        raise ValueError(f"the type of the {what} is {element.kind}, which is none of {kinds}")
    dtype = np.dtype(order + _TYPES.get(element.kind, "u1"))
    if len(element.data) % dtype.itemsize:
        raise ValueError(f"the {what} have {len(element.data)} bytes, {dtype.itemsize} each")
    return np.frombuffer(element.data, dtype)
