"""What is asked of a solver run, its place in the file's attributes, and whether two runs agree."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surform.data.solvers.options import (
    full_options,
    makes_demonstrations,
    makes_rows,
    makes_series,
    makes_trajectory,
    pictures_set,
    solver_options,
)
from surform.data.solvers.written_table import TABLES

__all__ = ["FORMAT_VERSION", "Request", "shard_path"]

FORMAT_VERSION = 1
_SUFFIXES = (".zarr", ".h5", ".hdf5", ".nc")
_DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Request:
    """One run of a solver: everything that its numbers depend on.

    Blocks of `batch` samples at fixed places are the unit of work, of shards and of resuming, so
    that each is always computed in the same way, down to the last bit.
    """

    solver: str
    parameters: dict[str, Any]
    samples: int
    seed: int
    shard: tuple[int, int]
    batch: int
    dtype: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", full_options(self.solver, self.parameters))
        index, count = self.shard
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, but it must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, but it must be at least 0")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}, but it must be at least 1")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}, but it must be 'float32' or 'float64'")
        if not 0 <= index < count:
            raise ValueError(f"shard {index}/{count} does not exist: shards count from 0/{count}")
        if not self.blocks():
            most = -(-self.samples // self.batch)
            raise ValueError(
                f"shard {index}/{count} is empty: {self.samples} samples in batches of "
                f"{self.batch} fill at most {most} shards; use fewer shards or a smaller batch"
            )

    def blocks(self) -> list[range]:
        """Return the sample numbers of each block of this shard."""
        index, count = self.shard
        total = -(-self.samples // self.batch)
        numbers = range(index * total // count, (index + 1) * total // count)
        return [range(b * self.batch, min((b + 1) * self.batch, self.samples)) for b in numbers]

    def own_samples(self) -> range:
        """Return the numbers of the samples of this shard."""
        blocks = self.blocks()
        return range(blocks[0].start, blocks[-1].stop)

    def attributes(self, out: Path) -> dict[str, Any]:
        """Return the attributes that tell a reader how the file was made."""
        return {
            "solver": self.solver,
            "parameters": json.dumps(self.parameters),
            "samples": self.samples,
            "seed": self.seed,
            "shard": "/".join(map(str, self.shard)),
            "batch": self.batch,
            "dtype": self.dtype,
            "surform_version": importlib.metadata.version("surform"),
            "format_version": FORMAT_VERSION,
            "command": self.command(out),
        }

    def command(self, out: Path) -> str:
        """Return the command line that makes this file."""
        words = ["surform", "generate", self.solver, "--out", str(out)]
        words += ["--samples", str(self.samples), "--seed", str(self.seed)]
        if self.shard[1] > 1:
            words += ["--shard", "/".join(map(str, self.shard))]
        words += ["--batch", str(self.batch), "--dtype", self.dtype]
        defaults = self._defaults()
        for name, value in self.parameters.items():
            if value != defaults[name]:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def _defaults(self) -> dict[str, Any]:
        return {name: option.default for name, option in solver_options(self.solver).items()}

    def check_same(self, path: Path, found: Mapping[str, Any], exact: bool) -> None:
        """Raise FileExistsError when `path`, whose attributes are given, answers another request.

        With `exact`, what only moves the last bits (batch, version) must agree too.
        """
        # A rollout or prediction from a solver's data carries their attributes on.
        made = found.get("solver") is not None and found.get("parameters") is not None
        if not made or "made_by" in found:
            raise FileExistsError(
                f"{path} exists and was not made by a solver; choose another name or "
                "overwrite it (--overwrite)"
            )
        asked = self.attributes(path)
        keys = ["solver", "samples", "seed", "shard", "dtype", "format_version"]
        keys += ["batch", "surform_version"] if exact else []
        pairs = [(key, found.get(key), asked[key]) for key in keys]
        # an option that is younger than the file: its default does what was done before
        stored = self._defaults() | json.loads(found["parameters"])
        pairs += [(key, stored.get(key), value) for key, value in self.parameters.items()]
        for key, old, new in pairs:
            if old != new:
                state = "was begun" if exact else "exists"
                raise FileExistsError(
                    f"{path} {state} with {key} {old!r}, but {key} {new!r} is asked for; "
                    "choose another name or overwrite it (--overwrite)"
                )


def shard_path(out: str | Path, shard: tuple[int, int], solver: str | None = None) -> Path:
    """Return the file that a run writes: `out`, or its part `<stem>.shard-<i>-of-<n>.zarr`.

    Tables are for the `solver`s that make series, and for one shard; folders without suffix for
    those that make pictures, tables for those that make rows, HDF5 for those that make trajectories
    or demonstrations; none of these is divided.
    """
    if "://" in str(out):
        raise ValueError(f"{out} is a URL, but data can only be generated into local files")
    path = Path(out)
    index, count = shard
    if solver is not None and pictures_set(solver) is not None:
        return _folder(path, count)
    if solver is not None and makes_trajectory(solver):
        return _arrays(path, count)
    if solver is not None and makes_demonstrations(solver):
        return _episodes(path, count)
    if solver is not None and makes_rows(solver):
        return _table(path, count)
    series = solver is not None and makes_series(solver)
    valid = (*_SUFFIXES, *TABLES) if series and count == 1 else _SUFFIXES
    if path.suffix not in valid:
        raise ValueError(f"{path} must end in one of {', '.join(valid)}")
    return path if count == 1 else path.with_name(f"{path.stem}.shard-{index}-of-{count}.zarr")


def _folder(path: Path, shards: int) -> Path:
    if path.suffix:
        raise ValueError(
            f"{path} has a suffix, but pictures are written into a folder: leave it out"
        )
    if shards > 1:
        raise ValueError("pictures are made in one piece: leave out --shard, and use --workers")
    return path


def _arrays(path: Path, shards: int) -> Path:
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"{path} must end in .h5 or .hdf5, where trajectories are written")
    if shards > 1:
        raise ValueError("a trajectory is made in one piece: leave out --shard, or change --seed")
    return path


def _episodes(path: Path, shards: int) -> Path:
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"{path} must end in .h5 or .hdf5, where demonstrations are written")
    if shards > 1:
        raise ValueError("demonstrations are made in one piece: leave out --shard, use --workers")
    return path


def _table(path: Path, shards: int) -> Path:
    if path.suffix not in TABLES:
        raise ValueError(f"{path} must end in .parquet or .csv, where rows are written")
    if shards > 1:
        raise ValueError("a table is made in one piece: leave out --shard, or change --seed")
    return path
