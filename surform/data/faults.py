"""What is wrong with a path or a name, in one sentence."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "closest",
    "command_line",
    "file_system",
    "first_line",
    "is_url",
    "parsing",
    "refuse_unreadable",
]

_PLAIN = re.compile(r"([^\W\d][\w .]*|\d+[A-Za-z]+|[;,])?")
_WORDS = ("true", "false", "yes", "no", "on", "off", "null")  # what YAML reads as no text


def closest(name: str, names: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest valid one, and all there are."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listing = ", ".join(names) or "nothing"
    return f"did you mean {near[0]!r}? It holds {listing}" if near else f"it holds {listing}"


def command_line(**options: object) -> str:
    """Options of the data as words of a command: `--data.fill interpolate --data.fill_limit 6`."""
    return " ".join(f"--data.{name} {_word(value)}" for name, value in options.items())


def _word(value: object) -> str:
    """A value for a shell and then for YAML, which takes much for something else than text."""
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return shlex.quote(str(value) if plain else json.dumps(value))


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def parsing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Around the parsers of other libraries: one sentence for whatever a damaged file makes them
    raise, be it KeyError, struct.error, or MemoryError for a length that is none.

    Errors that name the file already pass as they are, and so do missing files and packages.

    Raises:
        OSError, ValueError: the file cannot be read, and the reason.
    """
    try:
        yield
    except (ImportError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        if isinstance(error, OSError | ValueError | TypeError) and str(path) in str(error):
            raise
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"cannot read {path}{_reason(error)[:300]}") from error


def _reason(error: Exception) -> str:
    said, kind = first_line(error), type(error).__name__
    if isinstance(error, MemoryError):
        return f": there is not enough memory for what it says that it holds ({said})"
    plain = isinstance(error, OSError | ValueError) or said == kind
    return f", it is damaged or of another kind: {said if plain else f'{kind}, {said}'}"


def is_url(path: str) -> bool:
    """Whether `path` is an fsspec URL such as "s3://bucket/flow.zarr"."""
    return "://" in path


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        ValueError: there is no such protocol.
        ImportError: a package is missing, which is named.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ValueError as error:
        raise ValueError(f"cannot open {url}: {first_line(error)}") from error
    except ImportError as error:
        raise ImportError(f"cannot open {url}: {first_line(error)}") from error


def refuse_unreadable(path: str, xml: bool = False) -> None:
    """Raise for local paths that are missing, unreadable, or a web page or LFS pointer.

    Of URLs only the protocol is looked at.

    Args:
        xml: the file is meant to be XML, which is otherwise taken for a web page.
    """
    if is_url(path):
        file_system(path)
        return
    if not os.path.exists(path):
        folder = Path(path).resolve().parent
        beside = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(Path(path).name, beside, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise FileNotFoundError(f"no data at {path}{hint}")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"no permission to read {path}")
    if os.path.isdir(path):
        return
    with open(path, "rb") as file:
        head = file.read(128)
    if not head:
        raise OSError(f"{path} is empty (0 bytes)")
    start = head.lstrip().lower()
    pages = (b"<!doctype html", b"<html", *(() if xml else (b"<?xml",)))
    if start.startswith(pages):
        raise OSError(f"{path} is a web page, not data: the download failed, fetch it again")
    if start.startswith(b"version https://git-lfs"):
        raise OSError(f"{path} is a Git LFS pointer, not data: run `git lfs pull`")
    if start.startswith(b"cdf"):
        raise OSError(f"{path} is a NetCDF 3 file: convert it with `nccopy -k nc4 IN OUT`")
