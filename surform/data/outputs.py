"""Where results may be written: never over the data they are made from, nor over something else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from surform.data.fields import expand_paths
from surform.data.writable import check_writable

__all__ = ["check_output", "check_store", "sources_of"]


def check_output(path: str | os.PathLike[str], sources: Iterable[Any]) -> None:
    """Refuse to write `path` over data, or where nothing may be written.

    Raises:
        ValueError: it is, holds or lies in one of the data (paths, patterns, lists).
        PermissionError, NotADirectoryError: see `check_writable`.
    """
    out = Path(path).resolve()
    for source in [p for item in sources if item is not None for p in expand_paths(item)]:
        data = Path(source.removeprefix("file://")).resolve()
        nested = out in data.parents or data in out.parents
        if out == data or nested:
            raise ValueError(f"{path} would replace the data it is made from, {source}")
    check_writable(path)


def check_store(
    path: str | os.PathLike[str], sources: Iterable[Any], made_by: str, what: str
) -> Path:
    """The checked `.zarr` path of a result.

    Args:
        sources: the data it is made from.
        made_by: attribute of such results; an existing store with another one is not replaced.
        what: "a rollout", for messages.

    Raises:
        ValueError: not a .zarr path, or one of the data.
        FileExistsError: something else is there.
    """
    out = Path(path)
    if out.suffix != ".zarr":
        raise ValueError(f"{what} is written to a folder that ends in .zarr, not to {out}")
    check_output(out, sources)
    if out.exists() and _attributes(out).get("made_by") != made_by:
        raise FileExistsError(
            f"{out} exists and is not {what}: choose another name, or remove it first"
        )
    return out


def sources_of(dataset: xr.Dataset) -> list[str]:
    """The files that a dataset was opened from, as far as it remembers."""
    encodings = [dataset.encoding, *(v.encoding for v in dataset.variables.values())]
    found = [e["source"] for e in encodings if isinstance(e.get("source"), str)]
    found += [path for path, _ in dataset.encoding.get("files", ())]
    return list(dict.fromkeys(found))


def _attributes(path: Path) -> dict[str, Any]:
    try:
        return dict(zarr.open_group(str(path), mode="r").attrs.asdict())
    except (OSError, KeyError, ValueError):
        return {}
