"""Make data with a solver when they are not there yet."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from surform.data.faults import is_url

__all__ = ["provide"]

_RANK_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID")


def provide(path: str | list[str], options: Mapping[str, Any]) -> None:
    """Generate `path` unless it exists: `options` are "solver" and its arguments.

    Of several processes on one machine the first generates and the others wait.

    Raises:
        ValueError: `options` without "solver", or `path` is not one local file.
    """
    if not isinstance(path, str) or is_url(path) or any(c in path for c in "*?["):
        raise ValueError(f"generate writes one local file, path is {path!r}")
    if "solver" not in options:
        raise ValueError(f"generate needs a solver: {{'solver': name, ...}}, got {dict(options)}")
    if os.path.exists(path):
        return
    if any(int(os.environ.get(name, 0)) > 0 for name in _RANK_VARIABLES):
        while not os.path.exists(path):
            time.sleep(0.5)
        return
    # The solvers load only when one is needed.
    from surform.data.solvers.generate import generate

    arguments = {name: value for name, value in options.items() if name != "solver"}
    generate(options["solver"], path, **arguments)
