"""Make data with a solver when they are not there yet."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surform.data.faults import is_url

__all__ = ["provide"]

_RANK_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID")


def provide(path: str | list[str], options: Mapping[str, Any]) -> None:
    """Generate `path` unless it exists; `options` are "solver" and its arguments.

    Of several processes on one machine the first generates and the others wait.

    Raises:
        ValueError: `options` without "solver", or `path` is not one local file.
        FileExistsError: `path` was generated with other options.
    """
    if not isinstance(path, str) or is_url(path) or any(c in path for c in "*?["):
        raise ValueError(f"generate writes one local file, path is {path!r}")
    if "solver" not in options:
        raise ValueError(f"generate needs a solver: {{'solver': name, ...}}, got {dict(options)}")
    if any(int(os.environ.get(name, 0)) > 0 for name in _RANK_VARIABLES):
        while not os.path.exists(path):
            time.sleep(0.5)
        return
    arguments = {name: value for name, value in options.items() if name != "solver"}
    if os.path.exists(path):
        _require_same(path, options["solver"], arguments)
        return
    # The solvers load only when one is needed.
    from surform.data.solvers.generate import generate

    generate(options["solver"], path, **{"progress": True, **arguments})


def _require_same(path: str, solver: str, arguments: Mapping[str, Any]) -> None:
    """FileExistsError if a solver made `path` with other options; other files are the user's."""
    from surform.data.solvers.options import default_batch
    from surform.data.solvers.request import Request
    from surform.data.solvers.written import read_attributes

    found = read_attributes(Path(path))
    if "solver" not in found:
        return
    known = {"samples": 0, "seed": 0, "shard": (0, 1), "batch": None, "dtype": "float32"}
    request = {name: arguments.get(name, value) for name, value in known.items()}
    request["batch"] = request["batch"] or default_batch(solver)
    other = {*known, "device", "progress", "overwrite", "workers"}
    parameters = {name: value for name, value in arguments.items() if name not in other}
    try:
        Request(solver, parameters, **request).check_same(Path(path), found, exact=False)
    except FileExistsError as error:
        raise FileExistsError(f"{error}, or give generate: null to read it as it is") from None
