"""Pickles that hold numpy arrays, lists, tuples, dicts, numbers and text, and nothing that runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.faults import refuse_unreadable

__all__ = ["NotPlainError", "load_plain", "read_plain_pickle"]

_NUMBERS = "biuf"  # kinds of numpy types


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """What a pickle holds, if it is plain.

    A pickle is a program. This one may only build arrays of numbers and Python's own containers:
    the first thing of another kind that it asks for ends the reading, before it is imported.
    Nothing of numpy's is handed to it either: a pickle that makes a numpy type or array itself can
    have raw bytes taken for addresses of objects.

    Raises:
        ValueError: it asks for something else; nothing of it was executed.
        OSError: the file is missing, truncated or no pickle.
    """
    file = Path(path)
    refuse_unreadable(str(file))
    with file.open("rb") as stream:
        return load_plain(stream, str(file))


def load_plain(stream: Any, name: str, more: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """As `read_plain_pickle`, from an open file.

    Args:
        name: of the file, for messages.
        more: what the pickle is given for further (module, name) that it asks for; nothing that it
            could harm by calling or changing it.
    """
    try:
        return _Plain(stream, _STANDS_FOR | dict(more or {})).load()
    except NotPlainError as error:
        raise ValueError(f"{name} {error}") from None
    except Exception as error:  # a damaged stream can fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(f"{name} is no whole pickle: {reason}") from error


class NotPlainError(Exception):
    """The pickle wants more than plain data; the words follow the file's name."""


class _Plain(pickle.Unpickler):
    def __init__(self, stream: Any, known: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(stream)
        self.known = known

    def find_class(self, module: str, name: str) -> Any:
        found = self.known.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise NotPlainError(
                f"asks for {module}.{name}: a pickle may hold numpy arrays, lists, tuples, dicts "
                "and numbers only, nothing of it was executed"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise NotPlainError("refers to data outside of itself and is not read")


class _Array(np.ndarray):
    """An array that a pickle makes empty and then fills."""

    def __setstate__(self, state: Any) -> None:
        _, shape, number, fortran, data = state
        kind = _kind_of(number)
        if type(data) is not bytes or min(shape, default=0) < 0:
            raise TypeError("an array without its bytes, or of a negative size")
        checked: Any = (1, tuple(shape), kind, bool(fortran), data)
        super().__setstate__(checked)


class _Number:
    """A numpy type, to which the pickle then tells the order of its bytes."""

    def __init__(self, name: Any) -> None:
        kind = np.dtype(name) if type(name) is str else None
        if kind is None or kind.kind not in _NUMBERS or kind.fields or kind.subdtype:
            raise NotPlainError(f"holds an array of {name!r}, not of numbers")
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        order: Any = str(state[1])
        self.kind = self.kind.newbyteorder(order)


def _kind_of(number: Any) -> np.dtype:
    if type(number) is not _Number:
        raise TypeError("an array without a type")
    return number.kind


# What arrays and numpy's numbers are rebuilt with, by the names of numpy 1, and what the pickle is
# given in its place. No class is: it could be called, and changed for later readings.
def _dtype(name: Any, *_: Any) -> _Number:
    return _Number(name)


def _reconstruct(*_: Any) -> _Array:
    return _Array(0)


def _scalar(number: Any, data: Any) -> Any:
    return np.frombuffer(data, _kind_of(number), 1)[0]


def _from_buffer(buffer: Any, number: Any, shape: Any, order: Any) -> np.ndarray:
    """How protocol 5 stores contiguous arrays."""
    return np.frombuffer(buffer, _kind_of(number)).reshape(shape, order=order).view(_Array)


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols below 3 store bytes."""
    if type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise NotPlainError(f"holds text in the encoding {encoding!r}")
    return str.encode(text, "latin1")


def _no_bytes() -> bytes:
    """How protocols below 3 store those of an empty array."""
    return b""


_STANDS_FOR = {
    ("numpy", "ndarray"): "numpy.ndarray",
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
}
