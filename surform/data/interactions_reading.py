"""From options to an opened table: files, roles, splits, and what the training rows say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from surform.data.fields import expand_paths
from surform.data.interactions_columns import coded, family
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_encoder import InteractionsEncoder
from surform.data.interactions_log import InteractionsLog, is_path
from surform.data.interactions_opening import open_table, text_types, trained_types
from surform.data.interactions_roles import Roles, find_roles
from surform.data.interactions_splits import divide_rows, split_counts
from surform.data.interactions_survey import Moments, Survey, require_spread
from surform.data.interactions_transforms import TRANSFORMS, check_transforms
from surform.data.normalizers import Normalizer
from surform.data.splits import SPLITS

__all__ = ["Reading", "divided", "fingerprint", "fitted", "surveyed"]


@dataclass(frozen=True)
class Reading:
    """An opened table.

    Args:
        log: all files, one after the other.
        roles: of the columns.
        options: of `InteractionsData`, those of layout and schema filled in.
        files: of each file the split it belongs to; None where rows are divided.
    """

    log: InteractionsLog
    roles: Roles
    options: Mapping[str, Any]
    files: tuple[str, ...] | None

    @classmethod
    def open(
        cls, path: Any, options: Mapping[str, Any], trained: InteractionsDescription | None = None
    ) -> Reading:
        """Open the files and find the roles of their columns.

        Args:
            path: as `InteractionsData` takes it.
            trained: the description of a model whose columns are wanted.
        """
        parts = dict(path) if isinstance(path, Mapping) else {"": path}
        logs: list[InteractionsLog] = []
        splits: list[str] = []
        for split, own in parts.items():
            filled, log = _opened(own, options, trained)
            logs.append(log)
            splits += [split] * len(log.files)
        if isinstance(path, Mapping):
            _require_other_files(path)
        log = logs[0] if len(logs) == 1 else InteractionsLog([f for one in logs for f in one.files])
        filled = filled if trained is None else _as_trained(trained, filled)
        roles = find_roles(log, filled)
        log.require(roles.all)
        return cls(log, roles, filled, tuple(splits) if isinstance(path, Mapping) else None)


def divided(reading: Reading, split: Mapping[str, Any] | None, by: str, seed: int) -> np.ndarray:
    """Per row the number of its split in `SPLITS`, or 3: none (uint8)."""
    log, roles = reading.log, reading.roles
    if reading.files is not None:
        codes = [SPLITS.index(name) for name in reading.files]
        counts = [sum(file.pieces) for file in log.files]
        return np.repeat(np.array(codes, dtype=np.uint8), counts)
    times = groups = None
    if by != "random":
        if roles.time is None:
            raise ValueError(f"split_by={by!r} needs time, the column that rows are ordered by")
        times = _times(log, roles.time)
    if by == "last":
        if roles.group is None:
            raise ValueError("split_by='last' needs group, the column of users or sessions")
        column = log.column(roles.group).unify_dictionaries().combine_chunks()
        groups = coded(column, True, f"column {roles.group!r} of {log.name}")[1]
    return divide_rows(log.rows, log.name, split, by, seed, times, groups)


def surveyed(
    reading: Reading, codes: np.ndarray
) -> tuple[InteractionsDescription, Normalizer | None]:
    """What the training rows say: vocabularies, fills, and the normaliser of the numbers.

    One pass; memory grows with the number of categories, not of rows.
    """
    log, roles, options = reading.log, reading.roles, reading.options
    given: dict[str, Any] = {
        "hashed": dict(options["hashed"] or {}),
        "positive": dict(options["positive"] or {}),
        "transforms": _of_each("transforms", options, roles.dense, "none"),
        "separator": options["separator"],
    }
    given["transforms"] = {n: t for n, t in given["transforms"].items() if t != "none"}
    check_transforms(given["transforms"])
    missing = _of_each("missing", options, roles.dense, "error")
    given["fills"] = _fills(missing, given["transforms"])
    least = _of_each("min_count", options, (*roles.categorical, *roles.multivalued), 1)
    complete = {name for name, value in missing.items() if value == "error"}
    further = {"types": options["types"], "complete": complete}
    survey = Survey(roles, log.schema, given | further)
    train = SPLITS.index("train")
    for part in log.parts(roles.encoded):
        own = codes[part.row : part.row + part.batch.num_rows]
        survey.add(part, np.flatnonzero(own == train))
    survey.check(log.name)
    given["fills"] |= {n: m.mean for n, m in survey.moments.items() if missing[n] == "mean"}
    about = InteractionsDescription(
        categorical=roles.categorical,
        multivalued=roles.multivalued,
        dense=roles.dense,
        labels=roles.labels,
        vocabularies={n: c.vocabulary(least[n]) for n, c in survey.counts.items()},
        group=roles.group or "",
        **given,
    )
    return about, _normalizer(list(survey.moments.values()))


def fitted(
    reading: Reading, codes: np.ndarray, about: InteractionsDescription
) -> Normalizer | None:
    """The normaliser of the training rows' numbers, transformed and filled as `about` says."""
    moments, encoder = [Moments() for _ in about.dense], InteractionsEncoder(about)
    train = SPLITS.index("train")
    for part in reading.log.parts(about.dense):
        own = codes[part.row : part.row + part.batch.num_rows] == train
        columns = encoder.dense(part.batch, part.file, part.within)[own].astype(np.float64)
        for one, column in zip(moments, columns.T, strict=True):
            one.add(column)
    require_spread(dict(zip(about.dense, moments, strict=True)), reading.log.name)
    return _normalizer(moments)


def fingerprint(reading: Reading, codes: np.ndarray, about: InteractionsDescription) -> str:
    """sha256 over columns, numbers of rows, splits, and the first and last rows, hexadecimal.

    It costs the same for tables of any size, tells them apart and is no proof against tampering.
    Where the files lie, and their format, do not matter.
    """
    log, columns = reading.log, reading.roles.encoded
    digest = hashlib.sha256(json.dumps([log.rows, columns]).encode())
    digest.update(json.dumps(split_counts(codes)).encode())
    digest.update(codes[:: max(1, log.rows // 4096)].tobytes())
    encoder = InteractionsEncoder(about)
    for file in (log.files[0], log.files[-1]):
        piece = next(n for n, rows in enumerate(file.pieces) if rows)
        batch = next(file.read(piece, columns, 256)).slice(0, 64)
        for array in vars(encoder.encode(batch, file.name)).values():
            if isinstance(array, np.ndarray):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _opened(
    path: Any, options: Mapping[str, Any], trained: InteractionsDescription | None
) -> tuple[dict[str, Any], InteractionsLog]:
    """The options with those of the layout in place, and the files."""
    if trained is None:
        texts, several = options["hashed"] or (), options["multivalued"] or ()
        types = text_types(texts, several, options["separator"])
    else:
        types = trained_types(trained)
    reading = {name: options[name] for name in ("layout", "delimiter", "columns")}
    log, roles = open_table(path, **reading, types=types | options["types"])
    return {**options, **{n: v for n, v in roles.items() if options[n] is None}}, log


def _require_other_files(path: Mapping[str, Any]) -> None:
    taken: dict[str, str] = {}
    for split, own in path.items():
        for file in expand_paths(own) if is_path(own) else ():
            if file in taken:
                raise ValueError(f"{file} is in both {taken[file]} and {split} of path")
            taken[file] = split


def _as_trained(about: InteractionsDescription, options: Mapping[str, Any]) -> dict[str, Any]:
    """Roles as a trained model has them; times and groups are of no matter to it."""
    return {
        **options,
        "labels": list(about.labels),
        "categorical": list(about.categorical),
        "multivalued": list(about.multivalued),
        "dense": list(about.dense),
        "separator": about.separator,
        "group": about.group or options["group"],
    }


def _times(log: InteractionsLog, name: str) -> np.ndarray:
    """Times as datetime64[us], or as plain numbers."""
    column = log.column(name)
    kind = family(column.type)
    if kind not in ("times", "numbers") or column.null_count:
        lacking = f"{column.null_count} missing times" if column.null_count else kind
        raise ValueError(
            f"column {name!r} of {log.name} holds {lacking}: rows are ordered by times or numbers, "
            "one in every row"
        )
    found = column.to_numpy()
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise ValueError(f"column {name!r} of {log.name} has NaN among its times")
    return found.astype("datetime64[us]") if found.dtype.kind == "M" else found


def _of_each(
    option: str, options: Mapping[str, Any], names: tuple[str, ...], default: Any
) -> dict[str, Any]:
    """An option per column, given for all or for some."""
    given = options[option]
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, default if given is None else given)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"{option} names {unknown[0]}, which is none of {', '.join(names)}")
    return {name: given.get(name, default) for name in names}


def _fills(missing: Mapping[str, Any], transforms: Mapping[str, str]) -> dict[str, float]:
    """What stands for missing numbers where that does not depend on the data."""
    found = {}
    for name, value in missing.items():
        if isinstance(value, str):
            if value not in ("error", "mean"):
                raise ValueError(f"missing={value!r}: choose error, mean or a number")
            continue
        change = TRANSFORMS[transforms.get(name, "none")]
        found[name] = float(change(np.array(float(value))))
    return found


def _normalizer(moments: list[Moments]) -> Normalizer | None:
    if not moments:
        return None
    mean, std = (np.array([getattr(m, name) for m in moments]) for name in ("mean", "std"))
    return Normalizer(torch.from_numpy(mean), torch.from_numpy(std))
