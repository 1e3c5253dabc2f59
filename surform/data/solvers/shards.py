"""Join the parts that many machines made into one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from surform.data.atomic import replacing, writer_lock
from surform.data.points_selection import PointsSelection
from surform.data.points_write import write_points
from surform.data.points_xarray import StoredPoints
from surform.data.solvers.options import points_description
from surform.data.solvers.request import shard_path
from surform.data.solvers.store import consolidate
from surform.data.solvers.written import open_store, read_attributes, write_file, write_store

__all__ = ["join"]


def join(out: str | Path, overwrite: bool = False) -> Path:
    """Write `out` from its parts `<stem>.shard-<i>-of-<n>.zarr` beside it, which stay.

    Raises:
        FileNotFoundError: there are no parts, or some are missing (named).
        FileExistsError: `out` exists already.
        ValueError: the parts belong to different requests.
    """
    path = shard_path(out, (0, 1))
    with writer_lock(path):
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists already; choose another name or overwrite it (--overwrite)"
            )
        parts = _find_parts(path)
        attributes = _common_attributes(parts)
        attributes["shard"] = "0/1"
        attributes["command"] += f"; surform generate --join --out {path}"
        description = points_description(str(attributes["solver"]))
        if description is not None:
            sources = [StoredPoints(str(part), PointsSelection()) for part in parts]
            samples = (s for source in sources for s in source.read_all(range(len(source))))
            return write_points(path, samples, description, attributes)
        data = [open_store(part) for part in parts]
        with replacing(path) as new:
            if path.suffix == ".zarr":
                write_store(data, new, attributes)
                consolidate(new)
            else:
                write_file(data, new, attributes)
    return path


def _find_parts(path: Path) -> list[Path]:
    pattern = re.compile(rf"{re.escape(path.stem)}\.shard-(\d+)-of-(\d+)\.zarr")
    found = [match for entry in path.parent.iterdir() if (match := pattern.fullmatch(entry.name))]
    counts = sorted({int(match[2]) for match in found})
    if not counts:
        raise FileNotFoundError(f"no parts {path.stem}.shard-<i>-of-<n>.zarr beside {path}")
    if len(counts) > 1:
        raise ValueError(
            f"{path.parent} holds parts of {path.stem} from runs with {counts[0]} and "
            f"{counts[1]} shards; move those of one run away"
        )
    parts = [shard_path(path, (i, counts[0])) for i in range(counts[0])]
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {counts[0]} parts are missing: {missing[0]}")
    return parts


def _common_attributes(parts: list[Path]) -> dict[str, Any]:
    first = dict(read_attributes(parts[0]))
    for part in parts[1:]:
        other = read_attributes(part)
        for key in ("solver", "parameters", "samples", "seed", "batch", "dtype", "format_version"):
            if other.get(key) != first.get(key):
                raise ValueError(
                    f"{parts[0].name} has {key} {first.get(key)!r}, but {part.name} has "
                    f"{other.get(key)!r}"
                )
    return first
