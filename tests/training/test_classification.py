"""Cross-entropy, accuracies, the warm cosine, and the best checkpoint of a figure that grows."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surform.training.checkpoints import Checkpoints
from surform.training.cross_entropy import CrossEntropy
from surform.training.metrics import METRICS
from surform.training.prediction import Prediction
from surform.training.schedules import WarmCosine


def made(classes: int = 7) -> tuple[torch.Tensor, torch.Tensor, Prediction]:
    torch.manual_seed(0)
    logits, labels = torch.randn(20, classes).double(), torch.randint(classes, (20,))
    return logits, labels, Prediction(logits, F.one_hot(labels, classes).double())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_and_smooths_in_training_only(smoothing):
    logits, labels, prediction = made()
    loss = CrossEntropy(smoothing)
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(loss(prediction), expected)
    torch.testing.assert_close(loss.eval()(prediction), F.cross_entropy(logits, labels))


def test_cross_entropy_of_mixed_targets_is_the_mixture():
    logits, labels, prediction = made()
    other = prediction.target.flip(0)
    mixed = CrossEntropy(0.2)(Prediction(logits, 0.3 * prediction.target + 0.7 * other))
    parts = [F.cross_entropy(logits, x, label_smoothing=0.2) for x in (labels, labels.flip(0))]
    torch.testing.assert_close(mixed, 0.3 * parts[0] + 0.7 * parts[1])


def test_half_precision_is_widened():
    logits, _, prediction = made()
    half = Prediction(logits.bfloat16(), prediction.target.bfloat16())
    assert CrossEntropy()(half).dtype == torch.float32


def test_accuracies_count_the_best_and_the_best_five():
    logits, labels, prediction = made()
    best = logits.argsort(1, descending=True)
    assert torch.equal(METRICS["top1"](prediction, None), (best[:, 0] == labels).float())
    expected = (best[:, :5] == labels[:, None]).any(1).float()
    assert torch.equal(METRICS["top5"](prediction, None), expected)
    few = Prediction(logits[:, :3], prediction.target[:, :3])
    assert METRICS["top5"](few, None).all()


def test_the_warm_cosine_rises_falls_and_rests():
    schedule = WarmCosine(warmup=4, start=1e-4, floor=1e-3, cooldown=3)
    rates = [schedule.rate(0.1, epoch, 13) for epoch in range(13)]
    assert rates[0] == 1e-4
    assert rates[2] == pytest.approx((1e-4 + 0.1) / 2)
    assert rates[4] == pytest.approx(1e-3 + 0.099 * (1 + math.cos(math.pi * 0.4)) / 2)
    assert rates[5] == pytest.approx((0.1 + 1e-3) / 2)
    assert rates[10:] == [1e-3] * 3
    assert sorted(rates[4:], reverse=True) == rates[4:]


@pytest.mark.parametrize("options", [{"warmup": -1}, {"floor": -1.0}, {"cooldown": 1.5}])
def test_impossible_schedules_are_refused(options):
    with pytest.raises(ValueError):
        WarmCosine(**options)


@pytest.mark.parametrize(("greater", "best"), [(True, 0.9), (False, 0.2)])
def test_the_best_value_is_the_largest_or_the_smallest(greater, best):
    keeper = Checkpoints()
    for value in (0.5, 0.9, float("nan"), 0.2, 0.4):
        if keeper._better(value, greater):
            keeper.best_value = value
    assert keeper.best_value == best


def test_wrong_smoothing_is_named():
    with pytest.raises(ValueError, match=r"smoothing is 1.0, but must lie in \[0, 1\)"):
        CrossEntropy(1.0)
    assert isinstance(CrossEntropy(), nn.Module)
