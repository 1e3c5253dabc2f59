"""Classify jets of files into tables, one row per jet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.extras import require_extra
from surform.data.jets_description import JetsDescription
from surform.data.jets_open import open_jets
from surform.data.jets_source import JetSource
from surform.data.solvers.progress import progress_bar
from surform.data.table_file import class_columns, write_table

if TYPE_CHECKING:
    import pandas as pd

    from surform.particles.jet_tagger import JetTagger

__all__ = ["predict", "predict_file"]


def predict(
    model: JetTagger, source: str | Sequence[str], *, batch_size: int = 1024
) -> pd.DataFrame:
    """A row per jet: `jet` (its number), `prediction`, `probability`, and `p_<class>`.

    Args:
        source: files of jets as training reads them, with or without their classes.
        batch_size: jets in one call of the network.

    Raises:
        ValueError: jets of another layout than the model was trained on, or a model that does not
            know what it was trained on.
    """
    pandas = require_extra("pandas", "tables", "making a table of predictions")
    about = model.described()
    jets = open_jets(source, features=about.features, particles=about.particles, labelled=False)
    _require_classes(about, jets)
    with progress_bar(f"classifying {jets.name}") as progress:
        parts = model.classify(
            lambda own: torch.from_numpy(jets.read(np.array(own))), len(jets), batch_size, progress
        )
        found = np.concatenate(list(parts))
    table: dict[str, Any] = {"jet": np.arange(len(found))}
    table |= class_columns(about.classes, found)
    return pandas.DataFrame(table)


def predict_file(
    model: JetTagger, source: str | Sequence[str], out: str | os.PathLike[str], **options: Any
) -> Path:
    """`predict` from files into a `.csv` or `.parquet` file, all or nothing.

    Raises:
        ValueError: another kind of file, or what `predict` raises.
    """
    sources = [source] if isinstance(source, str) else source
    return write_table(out, sources, lambda: predict(model, source, **options))


def _require_classes(about: JetsDescription, jets: JetSource) -> None:
    if jets.classes != about.classes:
        raise ValueError(
            f"the model was trained on the classes {', '.join(about.classes)}, jets like those of "
            f"{jets.name} are {', '.join(jets.classes)}"
        )
