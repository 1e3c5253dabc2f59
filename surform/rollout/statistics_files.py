"""Pooled statistics of a rollout and of the truth as one small file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surform.data.atomic import replacing
from surform.rollout.statistics_figures import summarize_statistics
from surform.rollout.statistics_pool import statistics_of
from surform.rollout.summary import left_out

__all__ = ["check_suffix", "write_statistics"]

_SUFFIXES = (".json", ".nc")


def check_suffix(path: str | os.PathLike[str]) -> None:
    """ValueError when no statistics are written to files of this name."""
    if Path(path).suffix not in _SUFFIXES:
        raise ValueError(f"statistics are written as {' or '.join(_SUFFIXES)}, not to {path}")


def write_statistics(path: str | os.PathLike[str], prediction: xr.Dataset) -> Path:
    """Write what `statistics_of` gives: as JSON, or as NetCDF.

    JSON holds "figures" (`summarize_statistics`), "prediction" and "truth" (as
    `xarray.Dataset.to_dict` gives them; null for NaN) and "left_out", the runs that blew up.
    NetCDF holds the variables of the prediction, and those of the truth as `<name>_truth`.

    Args:
        prediction: what `rollout_to` returned, with the observer `Statistics`.

    Raises:
        ValueError: no statistics in `prediction`, or another kind of file.
    """
    check_suffix(path)
    predicted, true = statistics_of(prediction)
    if predicted is None:
        why = f"every run blew up ({gone})" if (gone := left_out(prediction)) else "there are none"
        raise ValueError(f"no statistics to write to {path}: {why}")
    with replacing(path) as partial:
        if Path(path).suffix == ".json":
            about = {
                "title": prediction.attrs.get("title", ""),
                "left_out": left_out(prediction),
                "figures": summarize_statistics(prediction),
                "prediction": predicted.to_dict(),
                "truth": None if true is None else true.to_dict(),
            }
            partial.write_text(json.dumps(_plain(about), indent=1), encoding="utf-8")
        else:
            both = predicted
            if true is not None:
                both = both.merge(true.rename_vars({n: f"{n}_truth" for n in true.data_vars}))
            both.attrs = {
                "title": prediction.attrs.get("title", ""),
                "left_out": left_out(prediction),
            }
            both.to_netcdf(partial, engine="h5netcdf")
    return Path(path)


def _plain(value: Any) -> Any:
    """Lists, dicts, strings and numbers; None for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
