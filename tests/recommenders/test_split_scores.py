"""Figures of a split from its batches: repeated rows, unknown labels, rows without a group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

from surform.recommenders.split_scores import BY_GROUP, SplitScores


def collected(group: torch.Tensor, labels: torch.Tensor, chances: torch.Tensor) -> SplitScores:
    """In batches of 32; the last one is there twice, as where processes fill their batches."""
    found, index = SplitScores(k=3), torch.arange(len(group))
    for own in [*index.split(32), index.split(32)[-1]]:
        found.add(own, chances[own], labels[own], group[own])
    return found


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    chances = torch.rand(200, 2, generator=random, dtype=torch.float64)
    labels = torch.bernoulli(chances, generator=random).float()
    labels[torch.rand(200, generator=random) < 0.3, 1] = torch.nan
    return torch.randint(-1, 20, (200,), generator=random), labels, chances


def test_labels_count_where_they_are_known_and_rows_once(rows) -> None:
    group, labels, chances = rows
    found = collected(group, labels, chances)
    each = []
    for task in range(2):
        known = ~labels[:, task].isnan()
        each.append(metrics.roc_auc_score(labels[known, task], chances[known, task]))
    assert [one["auc"] for one in found.by_label(["auc"])] == pytest.approx(each, abs=1e-12)
    assert found.figures(["auc"])["auc"] == pytest.approx(np.mean(each), abs=1e-12)
    assert found.calibration_rows()["calibration/0"][0].sum() == 200


@pytest.mark.parametrize("name", BY_GROUP)
def test_rows_without_a_group_are_no_group(rows, name: str) -> None:
    group, labels, chances = rows
    assert bool((group < 0).any())
    own = group >= 0
    found = collected(group, labels, chances).figures([name])[name]
    alone = collected(group[own], labels[own], chances[own]).figures([name])[name]
    assert found == pytest.approx(alone, abs=1e-12)
    nobody = collected(torch.full_like(group, -1), labels, chances)
    assert np.isnan(nobody.figures([name])[name])
    assert np.isfinite(nobody.figures(["auc"])["auc"])
