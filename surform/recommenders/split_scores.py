"""What a ranker says of a whole split, collected batch by batch, and the figures of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from surform.recommenders.ranking_scores import (
    auc,
    calibration,
    calibration_error,
    calibration_table,
    group_auc,
    log_loss,
    ndcg,
    normalized_entropy,
    recall,
)

__all__ = ["BY_GROUP", "FIGURES", "SplitScores"]

FIGURES = ("auc", "log_loss", "normalized_entropy", "calibration", "calibration_error")
BY_GROUP = ("group_auc", "ndcg", "recall")
_BINS = 20
_OF_LABELS = {
    "auc": auc,
    "log_loss": log_loss,
    "normalized_entropy": normalized_entropy,
    "calibration": calibration,
    "calibration_error": calibration_error,
}


@dataclass
class SplitScores:
    """Rows of a split: probabilities (n, T), labels (n, T) with NaN where unknown, groups (n,),
    -1 of rows without one, which count in no figure by group.

    Args:
        k: length of the lists that `ndcg` and `recall` look at.
        parts: (index, probabilities, labels, groups) of batches.
    """

    k: int = 10
    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(self, index: Tensor, chances: Tensor, labels: Tensor, group: Tensor) -> None:
        """Take one batch."""
        arrays = (index, chances.detach().double(), labels, group)
        self.parts.append(tuple(array.cpu().numpy() for array in arrays))

    def rows(self) -> tuple[np.ndarray, ...]:
        """(index, probabilities, labels, groups) of all rows, in the order of the split.

        Rows that several processes were given to fill their last batch count once.
        """
        index, chances, labels, group = (
            np.concatenate(each) for each in zip(*self.parts, strict=True)
        )
        if not len(index):
            return index, chances, labels, group
        own, first = np.unique(index, return_index=True)
        return own, chances[first], labels[first], group[first] if len(group) else group

    def figures(self, names: Sequence[str]) -> dict[str, float]:
        """Means over the labels of the figures asked for; NaN where no label has one."""
        each = self.by_label(names)
        found = {}
        for name in names:
            known = [own[name] for own in each if not np.isnan(own[name])]
            found[name] = float(np.mean(known)) if known else float("nan")
        return found

    def by_label(self, names: Sequence[str]) -> list[dict[str, float]]:
        """The same label by label."""
        _, chances, labels, group = self.rows()
        return [
            {
                name: self._figure(name, *_known(labels[:, task], chances[:, task], group))
                for name in names
            }
            for task in range(labels.shape[1])
        ]

    def calibration_rows(self) -> dict[str, np.ndarray]:
        """Per label, by "calibration/label": (3, bins) of count, mean probability and share."""
        _, chances, labels, group = self.rows()
        found = {}
        for task in range(labels.shape[1]):
            y, p, _ = _known(labels[:, task], chances[:, task], group)
            found[f"calibration/{task}"] = np.stack(calibration_table(y, p, _BINS))
        return found

    def _figure(self, name: str, y: np.ndarray, p: np.ndarray, group: np.ndarray) -> float:
        if not len(y):
            return float("nan")
        if name in _OF_LABELS:
            return _OF_LABELS[name](y, p)
        if not len(group):
            raise ValueError(f"{name} is a figure by group: name a column with data.group")
        own = group >= 0  # rows without a group are no list
        y, p, group = y[own], p[own], group[own]
        if name == "group_auc":
            return group_auc(y, p, group)
        return {"ndcg": ndcg, "recall": recall}[name](y, p, group, self.k)


def _known(labels: np.ndarray, chances: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, ...]:
    known = ~np.isnan(labels)
    return labels[known], chances[known], group[known] if len(group) else group
