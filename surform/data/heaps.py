"""Damage that HDF5 never comes back from: a global heap through which it would go for ever.

HDF5 keeps texts and lists of attributes in global heaps, and goes through what is in one by the
sizes that stand there. Free space of the size 0 holds it at one place, and only a kill ends the
process. So it reads these attributes and texts once from a file that looks at heaps first, and none
of a type that makes it crash.

Source: HDF Group, "HDF5 File Format Specification 3.0", III.E.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
from h5py import h5t

__all__ = ["require_sound_heaps"]

_HEAP = b"GCOL\x01\0\0\0"
_HEAD = 16  # bytes of a heap before its first object, and of an object before its data
_LARGE = 1 << 16  # bytes; reads of more are of arrays
_MOST = 1 << 28  # bytes of a heap
_KIND, _TEXT = 3, 1  # where an encoded type says 0 for a list and 1 for a text
_ROWS = 1024  # texts of an array that are in memory together


def require_sound_heaps(path: str) -> None:
    """Read the attributes and the arrays of texts of a local file that are in heaps.

    Other damage is left to whoever reads what is damaged.

    Raises:
        OSError: a heap that has no end, a damaged type of lists, or no HDF5 at all.
    """
    with _CheckedHeaps(path) as source, h5py.File(source, "r") as file:
        names = ["/"]
        with _but_endless():
            file.visit(names.append)
        for name in names:
            with _but_endless():
                item = file[name]
                _read_attributes(item)
                if isinstance(item, h5py.Dataset):
                    _read_texts(item)


class _EndlessError(OSError):
    """Of what HDF5 must not meet."""


@contextmanager
def _but_endless() -> Iterator[None]:
    try:
        yield
    except _EndlessError:
        raise
    except Exception:
        return


def _read_attributes(item: Any) -> None:
    for name in item.attrs:
        kind = item.attrs.get_id(name).get_type()
        if _is_text(kind) or kind.get_class() == h5t.VLEN:
            _require_known(kind, f"the attribute {name} of {item.name}")
            item.attrs[name]


def _read_texts(array: h5py.Dataset) -> None:
    kind = array.id.get_type()
    if not _is_text(kind):
        return
    _require_known(kind, f"the array {array.name}")
    if not array.shape:
        array[()]
        return
    for start in range(0, len(array), _ROWS):
        array[start : start + _ROWS]


def _is_text(kind: Any) -> bool:
    """Whether texts of this type lie in heaps."""
    return kind.get_class() == h5t.STRING and kind.is_variable_str()


def _require_known(kind: Any, what: str) -> None:
    if kind.encode()[_KIND] & 0xF > _TEXT:  # HDF5 crashes where it reads any other
        raise _EndlessError(f"{what} has a damaged type")


class _CheckedHeaps(io.FileIO):
    """A file to read, in which a heap is refused that HDF5 would not find the end of."""

    def readinto(self, buffer: Any) -> int:
        start, view = self.tell(), memoryview(buffer)
        done = super().readinto(view) or 0
        if done <= _LARGE and (at := bytes(view[:done]).find(_HEAP)) >= 0:
            self._check(start + at)
        return done

    def _check(self, start: int) -> None:
        (size,) = struct.unpack("<Q", os.pread(self.fileno(), 8, start + 8))
        heap, at = os.pread(self.fileno(), min(size, _MOST), start), _HEAD
        while at + _HEAD <= len(heap):
            number, length = struct.unpack_from("<H6xQ", heap, at)
            if number == 0 and length < _HEAD:
                raise _EndlessError(
                    f"the global heap at byte {start} is damaged: free space of {length} bytes"
                )
            at += length if number == 0 else _HEAD + length + -length % 8
