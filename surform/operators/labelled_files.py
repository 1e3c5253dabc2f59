"""Predictions of fields from a data set into a Zarr store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from surform.data.atomic import replacing
from surform.data.fields import open_fields
from surform.data.outputs import check_store
from surform.data.solvers.store import consolidate
from surform.operators.labelled import predict
from surform.operators.surrogate import FieldSurrogate

__all__ = ["predict_file"]

_MADE_BY = "surform predict"


def predict_file(
    model: FieldSurrogate, source: str, out: str | os.PathLike[str], **options: Any
) -> Path:
    """Predict all samples of a data set: what a steady model maps, or what follows the last frames.

    Args:
        source: what `open_fields` reads.
        out: a `.zarr` folder. Older predictions there are replaced, the source never.
        options: of `surform.operators.labelled.predict`.
    """
    from surform import __version__

    path = check_store(out, [source], _MADE_BY, "a set of predictions")
    found = predict(model, open_fields(source), **options)
    found.attrs |= {"made_by": _MADE_BY, "surform_version": __version__, "data": str(source)}
    found.attrs["title"] = f"predictions of {type(model.net).__name__}"
    for variable in found.variables.values():  # chunks and codecs of the source do not apply
        variable.encoding = {}
    with replacing(path) as partial:
        found.to_zarr(partial, consolidated=False, zarr_format=3)  # type: ignore[call-overload]
        consolidate(partial)
    return path
