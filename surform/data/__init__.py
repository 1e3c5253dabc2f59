"""From files to batches: fields, meshes, series, atoms, interactions, normalisers, solvers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surform.data.atoms_batch import AtomsBatch
    from surform.data.atoms_description import AtomsDescription
    from surform.data.atoms_files import open_atoms
    from surform.data.atoms_module import AtomsData
    from surform.data.batches import FieldBatch
    from surform.data.demonstrations_batch import DemonstrationBatch
    from surform.data.demonstrations_copy import copy_demonstrations
    from surform.data.demonstrations_description import DemonstrationsDescription
    from surform.data.demonstrations_files import open_demonstrations
    from surform.data.demonstrations_module import DemonstrationsData
    from surform.data.demonstrations_write import DemonstrationWriter
    from surform.data.description import FieldsDescription
    from surform.data.fields import open_fields
    from surform.data.fields_module import FieldsData
    from surform.data.interactions_batch import InteractionsBatch
    from surform.data.interactions_convert import text_to_parquet
    from surform.data.interactions_description import InteractionsDescription
    from surform.data.interactions_module import InteractionsData
    from surform.data.normalizers import Normalizer
    from surform.data.points import PointBatch, PointSample
    from surform.data.points_description import PointsDescription
    from surform.data.points_files import open_points
    from surform.data.points_module import PointsData
    from surform.data.points_write import write_points
    from surform.data.series_batch import SeriesBatch
    from surform.data.series_description import SeriesDescription
    from surform.data.series_module import SeriesData

__all__ = [
    "AtomsBatch",
    "AtomsData",
    "AtomsDescription",
    "DemonstrationBatch",
    "DemonstrationWriter",
    "DemonstrationsData",
    "DemonstrationsDescription",
    "FieldBatch",
    "FieldsData",
    "FieldsDescription",
    "InteractionsBatch",
    "InteractionsData",
    "InteractionsDescription",
    "Normalizer",
    "PointBatch",
    "PointSample",
    "PointsData",
    "PointsDescription",
    "SeriesBatch",
    "SeriesData",
    "SeriesDescription",
    "copy_demonstrations",
    "open_atoms",
    "open_demonstrations",
    "open_fields",
    "open_points",
    "text_to_parquet",
    "write_points",
]

_HOMES = {
    "AtomsBatch": "atoms_batch",
    "AtomsData": "atoms_module",
    "AtomsDescription": "atoms_description",
    "DemonstrationBatch": "demonstrations_batch",
    "DemonstrationWriter": "demonstrations_write",
    "DemonstrationsData": "demonstrations_module",
    "DemonstrationsDescription": "demonstrations_description",
    "FieldBatch": "batches",
    "FieldsData": "fields_module",
    "FieldsDescription": "description",
    "InteractionsBatch": "interactions_batch",
    "InteractionsData": "interactions_module",
    "InteractionsDescription": "interactions_description",
    "Normalizer": "normalizers",
    "PointBatch": "points",
    "PointSample": "points",
    "PointsData": "points_module",
    "PointsDescription": "points_description",
    "SeriesBatch": "series_batch",
    "SeriesData": "series_module",
    "SeriesDescription": "series_description",
    "copy_demonstrations": "demonstrations_copy",
    "open_atoms": "atoms_files",
    "open_demonstrations": "demonstrations_files",
    "open_fields": "fields",
    "open_points": "points_files",
    "text_to_parquet": "interactions_convert",
    "write_points": "points_write",
}


def __getattr__(name: str) -> Any:
    """Import on first use: most of these bring torch or Lightning."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
