"""Binary cross-entropy of several labels: torch's own where all are known, without what is not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surform.training.binary_cross_entropy import BinaryCrossEntropy
from surform.training.prediction import Prediction


def test_it_is_the_sum_of_each_labels_mean() -> None:
    logits, target = torch.randn(7, 3), torch.randint(2, (7, 3)).float()
    found = BinaryCrossEntropy()(Prediction(logits, target))
    each = [F.binary_cross_entropy_with_logits(logits[:, i], target[:, i]) for i in range(3)]
    torch.testing.assert_close(found, sum(each))
    weighted = BinaryCrossEntropy(weights=(1.0, 0.0, 2.0))(Prediction(logits, target))
    torch.testing.assert_close(weighted, each[0] + 2 * each[2])


def test_unknown_labels_count_nowhere() -> None:
    logits = torch.randn(6, 2, requires_grad=True)
    target, known = torch.randint(2, (6, 2)).float(), torch.ones(6, 2)
    known[2:, 1] = 0
    found = BinaryCrossEntropy()(Prediction(logits, target, known))
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0])
    expected = expected + F.binary_cross_entropy_with_logits(logits[:2, 1], target[:2, 1])
    torch.testing.assert_close(found, expected)
    found.backward()
    assert logits.grad is not None
    assert (logits.grad[2:, 1] == 0).all()
    nothing = BinaryCrossEntropy()(Prediction(logits, target, torch.zeros(6, 2)))
    assert nothing.item() == 0


def test_half_precision_is_widened() -> None:
    logits = torch.full((4, 1), 30.0, dtype=torch.bfloat16)
    found = BinaryCrossEntropy()(Prediction(logits, torch.zeros(4, 1)))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(30.0)


@pytest.mark.fault
def test_wrong_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must not be negative"):
        BinaryCrossEntropy(weights=(-1.0,))
    with pytest.raises(ValueError, match="the loss has 1 weights for 2 labels"):
        BinaryCrossEntropy((1.0,))(Prediction(torch.zeros(2, 2), torch.zeros(2, 2)))
