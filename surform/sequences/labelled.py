"""Classify sequences of files into tables, one row per sequence or pair."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.sequences_open import open_sequences
from surform.data.sequences_samples import SequenceSamples
from surform.data.solvers.progress import progress_bar
from surform.data.table_file import class_columns, write_table

if TYPE_CHECKING:
    import pandas as pd

    from surform.sequences.classifier import SequenceClassifier

__all__ = ["predict", "predict_file"]


def predict(model: SequenceClassifier, source: str, *, batch_size: int = 32) -> pd.DataFrame:
    """A row per sequence or pair: `sequence`, its number, `prediction`, `probability`, `p_<class>`.

    Args:
        source: what training reads, with its labels, which are not looked at; longer sequences are
            cut as in training.
        batch_size: sequences in one call of the network.

    Raises:
        ValueError: other tokens than the model was trained on, or a model that does not know what
            it was trained on.
    """
    pandas = require_extra("pandas", "tables", "making a table of predictions")
    about = model.described()
    sequences = open_sequences(source, tokens=about.tokens)
    samples = SequenceSamples(sequences, np.arange(len(sequences)), about.length)
    with progress_bar(f"classifying {source}") as progress:
        parts = model.classify(lambda own: samples[own].tokens, len(samples), batch_size, progress)
        found = np.concatenate(list(parts))
    table: dict[str, Any] = {"sequence": np.arange(len(found))}
    table |= class_columns(about.classes, found)
    return pandas.DataFrame(table)


def predict_file(
    model: SequenceClassifier, source: str, out: str | os.PathLike[str], **options: Any
) -> Path:
    """`predict` from a file into a `.csv` or `.parquet` file, all or nothing.

    Raises:
        ValueError: another kind of file, or what `predict` raises.
    """
    return write_table(out, [source], lambda: predict(model, source, **options))
