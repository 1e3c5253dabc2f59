"""Forecasts from a file into a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from surform.data.atomic import refuse_folder, replacing
from surform.data.outputs import check_output, check_store
from surform.data.solvers.store import consolidate
from surform.forecasting.labelled import Forecast, forecast
from surform.forecasting.labelled_arrays import is_array, like_arrays
from surform.hub.pretrained import Pretrained

__all__ = ["predict_file"]

_MADE_BY = "surform predict"
_KINDS = (".csv", ".parquet", ".nc", ".zarr")


def predict_file(
    model: Pretrained, source: str, out: str | os.PathLike[str], **options: Any
) -> Path:
    """Forecast what follows the last row of every series of a file; all or nothing is written.

    Args:
        source: path or URL of a table.
        out: `.csv`, `.parquet` (one row per series and step), `.nc` or `.zarr` (the variables of
            the source where it holds arrays, else one per target). An older forecast there is
            replaced, the source never.
        options: of `surform.forecasting.labelled.predict`.

    Raises:
        ValueError: another kind of file, or what `predict` raises.
    """
    path = Path(out)
    if path.suffix not in _KINDS:
        raise ValueError(f"forecasts are written to one of {', '.join(_KINDS)}, not to {path}")
    if path.suffix == ".zarr":
        check_store(path, [source], _MADE_BY, "a forecast")
    else:
        check_output(path, [source])
        refuse_folder(path, "--out")
    if path.suffix == ".parquet":
        _require_pyarrow()
    found = forecast(model, source, **options)
    with replacing(path) as partial:
        if path.suffix in (".nc", ".zarr"):
            arrays = is_array(source)
            dataset = like_arrays(found, source, options.get("time")) if arrays else found.dataset()
            _write_arrays(dataset.assign_attrs(_provenance(model, source)), partial, path.suffix)
        else:
            _write_rows(found, partial, path.suffix)
    return path


def _write_rows(found: Forecast, path: Path, suffix: str) -> None:
    if suffix == ".csv":
        found.frame().to_csv(path, index=False)
    else:
        found.frame().to_parquet(path, index=False)


def _write_arrays(dataset: Any, path: Path, suffix: str) -> None:
    if suffix == ".nc":
        dataset.to_netcdf(path, engine="h5netcdf")
    else:
        # names of fixed width have no place in the format's third version
        names = {n: c.astype(object) for n, c in dataset.coords.items() if c.dtype.kind in "UT"}
        dataset.assign_coords(names).to_zarr(path, consolidated=False, zarr_format=3)
        consolidate(path)


def _provenance(model: Pretrained, source: str) -> dict[str, str]:
    from surform import __version__

    return {
        "made_by": _MADE_BY,
        "title": f"forecast of {type(model.net).__name__}",
        "surform_version": __version__,
        "data": str(source),
    }


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(
            "writing .parquet needs pyarrow: pip install 'surform[tables]'"
        ) from error
