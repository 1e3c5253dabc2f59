"""Pickles that hold numpy arrays, lists, tuples, dicts, numbers and text, and nothing that runs."""

from __future__ import annotations

import codecs
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.faults import refuse_unreadable

__all__ = ["read_plain_pickle"]


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """What a pickle holds, if it is plain.

    A pickle is a program. This one may only build arrays of numbers and Python's own containers:
    the first thing of another kind that it asks for ends the reading, before it is imported.

    Raises:
        ValueError: it asks for something else; nothing of it was executed.
        OSError: the file is missing, truncated or no pickle.
    """
    file = Path(path)
    refuse_unreadable(str(file))
    with file.open("rb") as stream:
        try:
            return _Plain(stream, str(file)).load()
        except _NotPlainError as error:
            raise ValueError(str(error)) from None
        except Exception as error:  # a damaged stream can fail in any way
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OSError(f"{file} is no whole pickle: {reason}") from error


class _NotPlainError(Exception):
    """The pickle wants more than plain data."""


class _Plain(pickle.Unpickler):
    def __init__(self, stream: Any, name: str) -> None:
        super().__init__(stream)
        self.name = name

    def find_class(self, module: str, name: str) -> Any:
        found = _allowed().get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise _NotPlainError(
                f"{self.name} asks for {module}.{name}: a pickle may hold numpy arrays, lists, "
                "tuples, dicts and numbers only, nothing of it was executed"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _NotPlainError(f"{self.name} refers to data outside of itself and is not read")


def _allowed() -> dict[tuple[str, str], Any]:
    """What arrays and numpy's numbers are rebuilt with, by the names of numpy 1."""
    return {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy.core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
        ("_codecs", "encode"): _encode,
    }


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """How protocol 5 stores contiguous arrays."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:
    """How protocols below 3 store bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _NotPlainError(f"the pickle holds text in the encoding {encoding!r}")
    return codecs.encode(text, encoding)
