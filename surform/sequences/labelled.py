"""Classify sequences of files into tables, one row per sequence or pair."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.extras import require_extra
from surform.data.sequences_description import SequencesDescription
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
    pandas = require_extra("pandas", "tables", "tables of predictions")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    about = _described(model)
    sequences = open_sequences(source, tokens=about.tokens)
    samples = SequenceSamples(sequences, np.arange(len(sequences)), about.length)
    with progress_bar(f"classifying {source}") as progress:
        found = np.concatenate(list(_probabilities(model, samples, batch_size, progress)))
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


def _described(model: SequenceClassifier) -> SequencesDescription:
    about = model.description
    if about is None:
        raise ValueError(
            "the model does not know its classes and what its tokens are: train it, or set "
            "model.description"
        )
    return about


def _probabilities(
    model: SequenceClassifier, samples: SequenceSamples, batch_size: int, progress: Any
) -> Iterator[np.ndarray]:
    place = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(samples), batch_size):
            stop = min(start + batch_size, len(samples))
            tokens = samples[range(start, stop)].tokens.to(place)
            with torch.inference_mode():
                yield model.probabilities(tokens).float().cpu().numpy()
            progress(stop / len(samples))
    finally:
        model.train(was_training)
