"""Keep statistics of large data sets between runs, where the user has named a folder for it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from surform.data.faults import is_url
from surform.data.fingerprint import fingerprint
from surform.data.source import FieldSource
from surform.data.statistics import VariableStatistics, load_statistics, save_statistics

__all__ = ["VARIABLE", "remembered_statistics"]

VARIABLE = "SURFORM_CACHE"


def remembered_statistics(
    source: FieldSource,
    samples: Sequence[int],
    options: Sequence[object],
    compute: Callable[[], dict[str, VariableStatistics]],
    gather: Callable[[bool], list[bool]] = lambda found: [found],
) -> dict[str, VariableStatistics]:
    """`compute()`, or what it gave before for the same data, in the folder `$SURFORM_CACHE`.

    Without that variable nothing is written anywhere. A file that was modified since then has
    other statistics; of remote data that cannot be known, so they are computed anew. `options` is
    whatever else the statistics depend on, in plain values; `gather` gives every process the
    answers of all. A folder that cannot be written gives a warning.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or any(is_url(path) for path in source.paths):
        return compute()
    key = [
        fingerprint(source),
        [_modified(path) for path in source.paths],
        [samples[0], len(samples)],
        list(options),
    ]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    path = Path(folder) / "statistics" / f"{name}.safetensors"
    kept = _kept(path)
    if all(gather(kept is not None)) and kept is not None:  # all processes compute, or none
        return kept
    found = compute()
    try:
        save_statistics(path, found)
    except OSError as error:  # of another user, read-only or full: only time is lost
        warnings.warn(f"${VARIABLE} does not keep the statistics: {error}", stacklevel=2)
    return found


def _kept(path: Path) -> dict[str, VariableStatistics] | None:
    """What a file holds; None where it is missing or damaged."""
    try:
        return load_statistics(path)
    except (OSError, SafetensorError, TypeError):
        return None


def _modified(path: str) -> list[int]:
    if not os.path.isdir(path):
        status = os.stat(path)
        return [status.st_mtime_ns, status.st_size]
    # a Zarr chunk is replaced by renaming, which changes the time of its folder
    return [max(os.stat(folder).st_mtime_ns for folder, _, _ in os.walk(path))]
