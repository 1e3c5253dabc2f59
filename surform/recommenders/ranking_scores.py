"""Figures of rankers over a whole split: how well probabilities order, and how well they are meant.

All take NumPy arrays (anything `numpy.asarray` takes), work in float64 and loop over nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "auc",
    "calibration",
    "calibration_error",
    "calibration_table",
    "group_auc",
    "log_loss",
    "ndcg",
    "normalized_entropy",
    "recall",
]

_SMALLEST = 1e-15  # probabilities are kept this far from 0 and 1


def auc(labels: Any, scores: Any) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    NaN where all labels are alike.

    Raises:
        ValueError: other shapes than (n,), labels beside 0 and 1, or scores that are not finite.
    """
    y, s = _checked(labels, scores)
    positives = y.sum()
    negatives = len(y) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = _ranks(s)
    return float((ranks[y > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def group_auc(labels: Any, scores: Any, groups: Any) -> float:
    """AUC within each group (user, query), averaged by the groups' sizes (GAUC).

    Groups whose labels are all alike say nothing and do not count. NaN where none counts.

    Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", 2017 (arXiv 1703.02091).
    """
    y, s = _checked(labels, scores)
    group = _groups(groups, len(y))
    if not len(y):
        return float("nan")
    order = np.lexsort((s, group))
    ranks = np.empty(len(y))
    ranks[order] = _sorted_ranks(s[order], group[order])
    count = np.bincount(group).astype(float)
    positives = np.bincount(group, weights=y)
    negatives = count - positives
    sums = np.bincount(group, weights=ranks * y)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return float("nan")
    positives, negatives, sums = positives[both], negatives[both], sums[both]
    each = (sums - positives * (positives + 1) / 2) / (positives * negatives)
    return float((each * count[both]).sum() / count[both].sum())


def log_loss(labels: Any, probabilities: Any) -> float:
    """Mean binary cross-entropy in nats; NaN of no rows."""
    y, p = _checked(labels, probabilities, bounded=True)
    if not len(y):
        return float("nan")
    p = np.clip(p, _SMALLEST, 1 - _SMALLEST)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def normalized_entropy(labels: Any, probabilities: Any) -> float:
    """Log loss over that of always answering the share of positives; below 1 is better than that.

    He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", ADKDD 2014. NaN where
    all labels are alike.
    """
    y, _ = _checked(labels, probabilities, bounded=True)
    share = y.mean() if len(y) else 0.0
    if share in (0.0, 1.0):
        return float("nan")
    entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
    return log_loss(labels, probabilities) / float(entropy)


def calibration(labels: Any, probabilities: Any) -> float:
    """The mean probability over the share of positives: 1 is right, more is too much."""
    y, p = _checked(labels, probabilities, bounded=True)
    return float(p.mean() / y.mean()) if y.any() else float("nan")


def calibration_table(
    labels: Any, probabilities: Any, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(count, mean probability, share of positives) of bins of equal width; NaN in empty ones."""
    y, p = _checked(labels, probabilities, bounded=True)
    if bins < 1:
        raise ValueError(f"bins is {bins}, but must be at least 1")
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=p, minlength=bins) / count
        share = np.bincount(place, weights=y, minlength=bins) / count
    return count, mean, share


def calibration_error(labels: Any, probabilities: Any, bins: int = 15) -> float:
    """Expected calibration error: |mean probability - share of positives| over bins, by size.

    NaN of no rows.

    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    count, mean, share = calibration_table(labels, probabilities, bins)
    filled = count > 0
    if not filled.any():
        return float("nan")
    gap = np.abs(mean[filled] - share[filled])
    return float((gap * count[filled]).sum() / count.sum())


def ndcg(labels: Any, scores: Any, groups: Any, k: int) -> float:
    """Discounted gain of the first k of each group over the best possible, averaged over groups.

    Gains are the labels (0 or 1), discounts 1 / log2(1 + place). Ties are broken against the
    model: among equal scores, negatives come first. Groups without a positive do not count.
    """
    hits, place, group, positives = _lists(labels, scores, groups, k)
    gains = np.bincount(group, weights=hits / np.log2(2 + place), minlength=len(positives))
    reached = np.minimum(positives, k).astype(np.int64)
    ideal = np.concatenate(([0.0], np.cumsum(1 / np.log2(2 + np.arange(reached.max(initial=0))))))
    best = ideal[reached]
    counted = positives > 0
    return float((gains[counted] / best[counted]).mean()) if counted.any() else float("nan")


def recall(labels: Any, scores: Any, groups: Any, k: int) -> float:
    """The share of each group's positives among its first k, averaged over groups.

    Ties and groups without a positive as for `ndcg`.
    """
    hits, _, group, positives = _lists(labels, scores, groups, k)
    found = np.bincount(group, weights=hits, minlength=len(positives))
    counted = positives > 0
    return float((found[counted] / positives[counted]).mean()) if counted.any() else float("nan")


def _lists(
    labels: Any, scores: Any, groups: Any, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the first k of each group, their places from 0, their groups; positives of all."""
    y, s = _checked(labels, scores)
    if k < 1:
        raise ValueError(f"k is {k}, but must be at least 1")
    group = _groups(groups, len(y))
    order = np.lexsort((y, -s, group))
    y, group = y[order], group[order]
    place = np.arange(len(y)) - _starts(group)
    first = place < k
    return y[first], place[first], group[first], np.bincount(group, weights=y)


def _checked(labels: Any, scores: Any, bounded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    what = "probabilities" if bounded else "scores"
    if y.ndim != 1 or y.shape != s.shape:
        raise ValueError(
            f"labels have shape {y.shape} and {what} {s.shape}, but both must be (rows,)"
        )
    wrong = ~((y == 0) | (y == 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"row {row} has the label {y[row]:g}, but labels must be 0 or 1")
    off = ~np.isfinite(s) if not bounded else ~((s >= 0) & (s <= 1))
    if off.any():
        row = int(off.argmax())
        wanted = "lie in [0, 1]" if bounded else "be finite"
        raise ValueError(f"row {row} has {s[row]:g} among the {what}, which must {wanted}")
    return y, s


def _groups(groups: Any, count: int) -> np.ndarray:
    """Groups numbered from 0 without gaps."""
    found = np.asarray(groups)
    if found.shape != (count,):
        raise ValueError(f"groups have shape {found.shape}, but must be ({count},)")
    return np.unique(found, return_inverse=True)[1].reshape(-1)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, those of equal scores averaged."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = _sorted_ranks(scores[order], np.zeros(len(scores), dtype=np.int64))
    return ranks


def _sorted_ranks(scores: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Ranks within groups of what is sorted by (group, score), those of equal scores averaged."""
    new = np.ones(len(scores), dtype=bool)
    new[1:] = (scores[1:] != scores[:-1]) | (group[1:] != group[:-1])
    run = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(scores)) - 1
    return (first + last)[run] / 2 - _starts(group) + 1


def _starts(group: np.ndarray) -> np.ndarray:
    """For each row of sorted groups, where its group begins."""
    new = np.ones(len(group), dtype=bool)
    new[1:] = group[1:] != group[:-1]
    return np.flatnonzero(new)[np.cumsum(new) - 1] if len(group) else np.zeros(0, dtype=np.int64)
