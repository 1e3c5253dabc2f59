"""ROC curves: areas against scikit-learn, ties, rejections."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from surform.particles.roc import EFFICIENCIES, mean_area, roc_curves


@pytest.mark.parametrize("rounded", [False, True])
def test_areas_are_those_of_scikit_learn(rounded):
    torch.manual_seed(0)
    labels = torch.randint(3, (500,))
    scores = torch.randn(500, 3) + torch.nn.functional.one_hot(labels, 3)
    scores = (2 * scores).round() if rounded else scores  # many ties
    curves = roc_curves(scores, labels)
    wanted = [roc_auc_score((labels == k).numpy(), scores[:, k].numpy()) for k in range(3)]
    assert [curve.area for curve in curves] == pytest.approx(wanted)
    assert mean_area(curves) == pytest.approx(sum(wanted) / 3)
    if not rounded:
        shares = curves[0].background_efficiency(EFFICIENCIES)
        assert 1 - torch.trapezoid(shares, EFFICIENCIES) == pytest.approx(wanted[0], abs=5e-3)


def test_a_curve_by_hand():
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    score = torch.tensor([0.9, 0.4, 0.5, 0.3, 0.2, 0.1])
    (curve, other) = roc_curves(torch.stack((score, -score), 1), labels)
    assert curve.area == pytest.approx(7 / 8)
    assert (curve.signal, curve.background) == (2, 4)
    assert curve.background_efficiency(1.0) == pytest.approx(0.25)
    assert curve.rejection(1.0) == pytest.approx(4)
    assert curve.rejection(0.5) == pytest.approx(4)  # none passes: as if one did
    assert other.area == pytest.approx(7 / 8)


def test_perfect_and_useless_scores():
    labels = torch.arange(100) % 2
    perfect = torch.nn.functional.one_hot(labels, 2).float()
    assert [curve.area for curve in roc_curves(perfect, labels)] == [1.0, 1.0]
    assert [curve.area for curve in roc_curves(torch.zeros(100, 2), labels)] == [0.5, 0.5]
    assert roc_curves(torch.zeros(100, 2), labels)[0].rejection(0.5) == pytest.approx(2, rel=0.05)


def test_classes_that_are_not_there():
    curves = roc_curves(torch.rand(10, 3), torch.arange(10) % 2)
    assert curves[2] is None
    assert curves[0] is not None
    assert math.isnan(mean_area(roc_curves(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64))))
