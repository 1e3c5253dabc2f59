"""Damage that HDF5 never comes back from: a global heap through which it would go for ever.

HDF5 keeps texts and lists of attributes in global heaps, and goes through what is in one by the
sizes that stand there. Free space of the size 0 holds it at one place, and only a kill ends the
process. So it reads these attributes once from a file that looks at heaps first.

Source: HDF Group, "HDF5 File Format Specification 3.0", III.E.
"""

from __future__ import annotations

import io
import os
import struct
from typing import Any

import h5py

__all__ = ["require_sound_heaps"]

_HEAP = b"GCOL\x01\0\0\0"
_HEAD = 16  # bytes of a heap before its first object, and of an object before its data
_LARGE = 1 << 16  # bytes; reads of more are of arrays
_MOST = 1 << 28  # bytes of a heap


def require_sound_heaps(path: str) -> None:
    """Read the attributes of a local file that are in heaps.

    Raises:
        OSError: a heap that has no end, or what HDF5 itself says of the file.
    """
    with _CheckedHeaps(path) as source, h5py.File(source, "r") as file:
        _read_attributes(file)
        file.visititems(lambda _, item: _read_attributes(item))


def _read_attributes(item: Any) -> None:
    for name in item.attrs:
        if item.attrs.get_id(name).dtype.hasobject:
            item.attrs[name]


class _CheckedHeaps(io.FileIO):
    """A file to read, in which a heap raises OSError that HDF5 would not find the end of."""

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
                raise OSError(
                    f"the global heap at byte {start} is damaged: free space of {length} bytes"
                )
            at += length if number == 0 else _HEAD + length + -length % 8
