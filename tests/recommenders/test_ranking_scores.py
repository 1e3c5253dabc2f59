"""Figures of rankers: scikit-learn's numbers, literal loops, edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from surform.recommenders import ranking_scores as scores


@pytest.fixture
def split():
    """Labels, probabilities with many ties, and groups, some of one label only."""
    random = np.random.default_rng(0)
    p = np.round(random.random(3000), 2)
    y = (random.random(3000) < p).astype(float)
    return y, p, random.integers(0, 400, 3000)


def test_auc_log_loss_and_entropy_are_those_of_scikit_learn(split) -> None:
    y, p, _ = split
    assert scores.auc(y, p) == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
    assert scores.auc(y, 7 - 3 * p) == pytest.approx(1 - scores.auc(y, p), abs=1e-12)
    loss = metrics.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15))
    assert scores.log_loss(y, p) == pytest.approx(loss, rel=1e-9)
    constant = metrics.log_loss(y, np.full(len(y), y.mean()))
    assert scores.normalized_entropy(y, p) == pytest.approx(loss / constant, rel=1e-9)
    assert scores.normalized_entropy(y, np.full(len(y), y.mean())) == pytest.approx(1)


def test_group_auc_averages_groups_by_size(split) -> None:
    y, p, group = split
    total = weight = 0.0
    for number in np.unique(group):
        own = group == number
        if 0 < y[own].sum() < own.sum():
            total += own.sum() * metrics.roc_auc_score(y[own], p[own])
            weight += own.sum()
    assert scores.group_auc(y, p, group) == pytest.approx(total / weight, abs=1e-12)
    names = np.array([f"user {number}" for number in group])
    assert scores.group_auc(y, p, names) == pytest.approx(total / weight, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_ndcg_and_recall_by_loops(split, k: int) -> None:
    y, _, group = split
    distinct = np.random.default_rng(1).permutation(len(y)) / len(y)
    gains, shares = [], []
    for number in np.unique(group):
        own, place = y[group == number], distinct[group == number]
        if not own.any():
            continue
        first = own[np.argsort(-place)][:k]
        gains.append(metrics.ndcg_score(own[None], place[None], k=k) if len(own) > 1 else 1.0)
        shares.append(first.sum() / own.sum())
    assert scores.ndcg(y, distinct, group, k) == pytest.approx(np.mean(gains), abs=1e-12)
    assert scores.recall(y, distinct, group, k) == pytest.approx(np.mean(shares), abs=1e-12)


def test_ties_are_broken_against_the_model() -> None:
    labels, same = [1, 0, 0], [0.5, 0.5, 0.5]
    assert scores.recall(labels, same, [0, 0, 0], 1) == 0
    assert scores.recall(labels, same, [0, 0, 0], 3) == 1
    assert scores.auc(labels, same) == 0.5


def test_calibration(split) -> None:
    y, p, _ = split
    count, mean, share = scores.calibration_table(y, p, 10)
    assert count.sum() == len(y)
    place = np.minimum((p * 10).astype(int), 9)
    literal = sum(
        abs(p[place == b].mean() - y[place == b].mean()) * (place == b).sum() for b in range(10)
    )
    assert scores.calibration_error(y, p, 10) == pytest.approx(literal / len(y))
    assert np.abs(mean - share).max() < 0.1
    assert scores.calibration(y, p) == pytest.approx(p.mean() / y.mean())
    assert scores.calibration_error([1, 1, 0, 0], [1, 1, 0, 0]) == 0
    assert math.isnan(scores.calibration_table([1], [0.05], 2)[1][1])


def test_no_rows_have_no_figures() -> None:
    for found in (
        *(figure([], []) for figure in (scores.auc, scores.log_loss, scores.normalized_entropy)),
        *(figure([], []) for figure in (scores.calibration, scores.calibration_error)),
        *(scores.group_auc([], [], []), scores.ndcg([], [], [], 3), scores.recall([], [], [], 3)),
    ):
        assert math.isnan(found)


def test_lists_may_be_longer_than_any_group() -> None:
    assert scores.ndcg([1, 0], [0.2, 0.1], [0, 0], 10**15) == 1.0


def test_a_split_of_one_label_has_no_auc() -> None:
    for found in (
        scores.auc([1, 1], [0.1, 0.2]),
        scores.group_auc([1, 0], [0.1, 0.2], [0, 1]),
        scores.normalized_entropy([0, 0], [0.1, 0.2]),
        scores.ndcg([0, 0], [0.1, 0.2], [0, 0], 1),
    ):
        assert math.isnan(found)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: scores.auc([0, 2], [0.1, 0.2]), "row 1 has the label 2, but labels must be 0 or"),
        (lambda: scores.auc([0, 1], [0.1]), r"shape \(2,\) and scores \(1,\)"),
        (lambda: scores.auc([0, 1], [0.1, np.nan]), "row 1 has nan among the scores"),
        (lambda: scores.log_loss([0, 1], [0.1, 1.2]), r"1.2 .* which must lie in \[0, 1\]"),
        (lambda: scores.ndcg([0, 1], [0.1, 0.2], [0], 1), r"groups have shape \(1,\)"),
        (lambda: scores.recall([0, 1], [0.1, 0.2], [0, 0], 0), "k is 0"),
        (lambda: scores.calibration_error([0, 1], [0.1, 0.2], 0), "bins is 0"),
    ],
)
def test_figures_of_what_cannot_be(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
