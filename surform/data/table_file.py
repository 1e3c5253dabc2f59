"""Tables of predictions as files, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.data.outputs import check_output

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["class_columns", "write_table"]

_KINDS = (".csv", ".parquet")


def class_columns(classes: Sequence[str], chances: np.ndarray) -> dict[str, Any]:
    """Columns `prediction` (the most probable class), `probability` (its), and `p_<class>` of all.

    Args:
        classes: K names.
        chances: (N, K) probabilities.
    """
    best = chances.argmax(1)
    columns: dict[str, Any] = {
        "prediction": [classes[number] for number in best],
        "probability": chances[np.arange(len(chances)), best],
    }
    return columns | {f"p_{name}": chances[:, place] for place, name in enumerate(classes)}


def write_table(
    out: str | os.PathLike[str], sources: Sequence[str], make: Callable[[], pd.DataFrame]
) -> Path:
    """Make a table and write it; returns the path.

    Args:
        out: a file .csv or .parquet.
        sources: what is read, which must not be overwritten.
        make: the table, without its index; called once `out` is known to be writable.

    Raises:
        ValueError: another kind of file, or one that is read.
    """
    path = Path(out)
    if path.suffix not in _KINDS:
        raise ValueError(f"predictions are written to one of {', '.join(_KINDS)}, not to {path}")
    check_output(path, sources)
    refuse_folder(path, "--out")
    if path.suffix == ".parquet":
        require_extra("pyarrow", "tables", "writing .parquet")
    table = make()
    with replacing(path) as partial:
        if path.suffix == ".csv":
            table.to_csv(partial, index=False)
        else:
            table.to_parquet(partial, index=False)
    return path
