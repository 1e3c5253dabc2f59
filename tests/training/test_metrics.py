"""Metrics per sample, and their means over splits with uneven batches."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from surform.data.batches import FieldBatch
from surform.rollout import VRMSE
from surform.training.differences import spacings
from surform.training.evaluation import Evaluation
from surform.training.metrics import GREATER_IS_BETTER, METRICS, frame_errors
from surform.training.prediction import Prediction

CLASS_METRICS = ("top1", "top5")
FIELD_METRICS = [name for name in METRICS if name not in CLASS_METRICS]


def window(dtype: torch.dtype = torch.float64) -> tuple[Prediction, FieldBatch]:
    torch.manual_seed(1)
    shape = (3, 4, 8, 6, 2)
    output, target = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    axes = (torch.linspace(0, 1, 8), torch.linspace(0, 2, 6))
    return Prediction(output, target), FieldBatch(target, target, axes)


@pytest.mark.parametrize("name", FIELD_METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_metrics_give_one_finite_value_per_sample(name: str, dtype: torch.dtype) -> None:
    prediction, batch = window(dtype)
    values = METRICS[name](prediction, batch)
    assert values.shape == (3,)
    assert torch.isfinite(values).all()


@pytest.mark.parametrize("name", FIELD_METRICS)
def test_a_perfect_prediction_is_best(name: str) -> None:
    prediction, batch = window()
    best = METRICS[name](Prediction(prediction.target, prediction.target), batch)
    expected = 1.0 if name in GREATER_IS_BETTER else 0.0
    torch.testing.assert_close(best, torch.full_like(best, expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "expected"), [("top1", [1, 0, 0]), ("top5", [1, 1, 0])])
def test_class_metrics_count_the_best_classes(name: str, expected: list[int]) -> None:
    logits = torch.arange(6.0).expand(3, 6)
    target = torch.nn.functional.one_hot(torch.tensor([5, 1, 0]), 6).float()
    assert METRICS[name](Prediction(logits, target), None).tolist() == expected


def test_relative_error_takes_channels_apart() -> None:
    prediction, batch = window()
    expected = torch.stack(
        [
            (prediction.output[..., c] - prediction.target[..., c]).flatten(1).norm(dim=1)
            / prediction.target[..., c].flatten(1).norm(dim=1)
            for c in range(2)
        ]
    ).mean(0)
    torch.testing.assert_close(METRICS["relative_l2"](prediction, batch), expected)


def test_predicting_the_spatial_mean_has_vrmse_one() -> None:
    prediction, batch = window()
    mean = prediction.target.mean((2, 3), keepdim=True).expand_as(prediction.target)
    values = METRICS["vrmse"](Prediction(mean, prediction.target), batch)
    points = prediction.target[0, 0, ..., 0].numel()  # the variance is unbiased
    expected = torch.full_like(values, ((points - 1) / points) ** 0.5)
    torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)


def test_gradient_error_ignores_constants_and_sees_scale() -> None:
    prediction, batch = window()
    shifted = Prediction(2 * prediction.target + 3, prediction.target)
    values = METRICS["h1"](shifted, batch)
    torch.testing.assert_close(values, torch.ones_like(values))


def test_vrmse_is_that_of_the_rollout() -> None:
    prediction, batch = window()
    frames = [
        VRMSE().of_field(prediction.output[:, :, ..., c], prediction.target[:, :, ..., c])
        for c in range(2)
    ]
    expected = torch.stack(frames).mean((0, 2))
    torch.testing.assert_close(METRICS["vrmse"](prediction, batch), expected)


@pytest.mark.fault
def test_gradients_on_uneven_grids_are_refused() -> None:
    prediction, batch = window()
    uneven = replace(batch, coordinates=(batch.coordinates[0] ** 2, batch.coordinates[1]))
    uneven = replace(uneven, target_coordinates=uneven.coordinates)
    with pytest.raises(ValueError, match="evenly spaced points: along axis 0 the step goes from"):
        METRICS["h1"](prediction, uneven)


def test_even_grids_far_from_zero_are_even() -> None:
    assert spacings([1000 + torch.arange(64) * 0.1]) == pytest.approx([0.1], rel=1e-4)


def test_correlation_is_blind_to_scale_and_offset() -> None:
    prediction, batch = window()
    values = METRICS["correlation"](Prediction(3 - 2 * prediction.target, prediction.target), batch)
    torch.testing.assert_close(values, -torch.ones_like(values))


def test_frame_errors_are_those_of_single_frames() -> None:
    prediction, batch = window()
    frames = frame_errors(prediction, batch)
    last = Prediction(prediction.output[:, -1], prediction.target[:, -1])
    torch.testing.assert_close(frames[:, -1], METRICS["relative_l2"](last, batch))
    assert frames.shape == (3, 4)


def test_clean_means_weigh_every_sample_alike() -> None:
    values = torch.arange(7.0)
    collected = Evaluation("clean")
    for part in values.split(4):
        collected.add({"relative_l2": part})
    assert collected.results()["relative_l2"].item() == pytest.approx(3.0)


def test_paper_means_are_means_of_batch_means() -> None:
    values = torch.arange(7.0)
    collected = Evaluation("paper")
    for part in values.split(4):
        collected.add({"relative_l2": part})
    assert collected.results()["relative_l2"].item() == pytest.approx((1.5 + 5.0) / 2)


def test_rmse_is_the_root_over_the_whole_split() -> None:
    errors = torch.tensor([1.0, 4.0, 9.0, 2.0, 8.0])
    collected = Evaluation()
    for part in errors.split(2):
        collected.add({"rmse": part})
    assert collected.results()["rmse"].item() == pytest.approx(math.sqrt(24 / 5))


def test_sums_and_counts_are_reduced_over_processes() -> None:
    collected = Evaluation()
    collected.add({"relative_l2": torch.tensor([1.0, 3.0])})
    other = {"sum": 6.0, "count": 1.0}
    given = iter([other["sum"], other["count"]])
    reduced = collected.results(lambda total: total + next(given))
    assert reduced["relative_l2"].item() == pytest.approx(10 / 3)


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(ValueError, match="choose clean, paper"):
        Evaluation("dirty")
