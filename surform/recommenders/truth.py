"""What was attainable: the true probabilities of a log that a solver made."""

from __future__ import annotations

from typing import Any

import numpy as np

from surform.data.interactions_columns import numbers
from surform.recommenders.ranking_scores import auc, log_loss

__all__ = ["attainable", "true_chances"]


def true_chances(data: Any, stage: str, column: str) -> np.ndarray:
    """(n,): the true probabilities of the rows of a split, in its order.

    Args:
        data: the data module.
        stage: "validation" or "test".
        column: of the log, by which the probabilities are known.

    Raises:
        ValueError: there is no such column, or it holds something else.
    """
    log = data.log
    log.require([column])
    whole = numbers(log.column(column).combine_chunks(), f"column {column!r} of {log.name}")
    found = whole[data.split_rows()[stage]]
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError(
            f"column {column!r} of {log.name} holds other values than probabilities: set "
            "model.truth to the column of the true ones, or leave it out"
        )
    return found


def attainable(labels: np.ndarray, chances: np.ndarray, found: float) -> dict[str, float]:
    """Figures of the true probabilities, and how much of their AUC was reached.

    Args:
        labels: (n,) 0 or 1, NaN where unknown: these rows do not count.
        chances: (n,) the true probabilities.
        found: the model's AUC on the same rows.

    Returns:
        "attained" is NaN where the true probabilities tell no row from another.
    """
    known = ~np.isnan(labels)
    labels, chances = labels[known], chances[known]
    best = auc(labels, chances)
    return {
        "bayes_auc": best,
        "bayes_log_loss": log_loss(labels, chances),
        "attained": (found - 0.5) / (best - 0.5) if best != 0.5 else float("nan"),
    }
