"""Figures of merit per sample: functions `metric(prediction, batch) -> (B,)`.

They see what the task evaluates: fields in physical units, forecasts standardised by default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from surform.rollout.errors import variance_scaled as vrmse
from surform.training.differences import gradient, spacings
from surform.training.losses import relative_l2
from surform.training.prediction import Prediction

__all__ = ["GREATER_IS_BETTER", "METRICS", "ROOT_OF_MEAN", "SPOKEN", "frame_errors"]


def relative_error(prediction: Prediction, batch: Any) -> Tensor:
    """||output - target|| / ||target|| over time and space, per channel, channels averaged."""
    return relative_l2(prediction, "none", separate=True)


def mean_square(prediction: Prediction, batch: Any) -> Tensor:
    """Mean squared error; its dataset value is the root of the mean (RMSE), in field units."""
    return squared_error(prediction, batch)


def variance_scaled(prediction: Prediction, batch: Any) -> Tensor:
    """VRMSE per frame and channel, averaged over both; 1 is as good as predicting the mean."""
    prediction = prediction.float()
    last = prediction.output.ndim - 1
    space = range(last - len(batch.target_coordinates), last)
    return vrmse(prediction.output, prediction.target, space).flatten(1).mean(1)


def gradient_error(prediction: Prediction, batch: Any) -> Tensor:
    """H1 seminorm: ||grad(output - target)|| / ||grad target||, over time, space and channels."""
    prediction = prediction.float()
    steps = spacings(batch.target_coordinates)

    def norm(field: Tensor) -> Tensor:
        fields = field.movedim(-1, 1)  # (B, C, [T,] *grid)
        slopes = gradient(fields.reshape(-1, *fields.shape[-len(steps) :]), steps)
        return slopes.reshape(len(field), -1).norm(dim=1)

    return norm(prediction.output - prediction.target) / norm(prediction.target)


def correlation(prediction: Prediction, batch: Any) -> Tensor:
    """Pearson correlation of output and target over time, space and channels."""
    prediction = prediction.float()
    output, target = prediction.output.flatten(1), prediction.target.flatten(1)
    output = output - output.mean(1, keepdim=True)
    target = target - target.mean(1, keepdim=True)
    product = output.norm(dim=1) * target.norm(dim=1)
    return (output * target).sum(1) / product.clamp(min=torch.finfo(product.dtype).tiny)


def squared_error(prediction: Prediction, batch: Any) -> Tensor:
    """Mean squared error, in squared units of the output."""
    return prediction.float().squared_error.flatten(1).mean(1)


def absolute_error(prediction: Prediction, batch: Any) -> Tensor:
    """Mean absolute error, in units of the output."""
    return prediction.float().absolute_error.flatten(1).mean(1)


def top1(prediction: Prediction, batch: Any) -> Tensor:
    """1 where the most probable class is the most probable one of the target, else 0."""
    return _among_best(prediction, 1)


def top5(prediction: Prediction, batch: Any) -> Tensor:
    """1 where the target's most probable class is among the five most probable ones, else 0."""
    return _among_best(prediction, 5)


def _among_best(prediction: Prediction, count: int) -> Tensor:
    best = prediction.output.topk(min(count, prediction.output.shape[-1]), -1).indices
    truth = prediction.target.argmax(-1, keepdim=True)
    return (best == truth).any(-1).float()


def frame_errors(prediction: Prediction, batch: Any) -> Tensor:
    """Relative L2 of every frame, `(B, T)`, channels averaged; time windows only."""
    prediction = prediction.float()
    count = prediction.output.shape[1]
    frames = [
        relative_l2(Prediction(prediction.output[:, t], prediction.target[:, t]), "none", True)
        for t in range(count)
    ]
    return torch.stack(frames, dim=1)


METRICS: dict[str, Callable[[Prediction, Any], Tensor]] = {
    "relative_l2": relative_error,
    "rmse": mean_square,
    "vrmse": variance_scaled,
    "h1": gradient_error,
    "correlation": correlation,
    "mse": squared_error,
    "mae": absolute_error,
    "top1": top1,
    "top5": top5,
}

# How reports name them, where that is not the name itself.
SPOKEN = {
    "relative_l2": "relative L2",
    "rmse": "RMSE",
    "vrmse": "VRMSE",
    "h1": "H1 error",
    "mse": "MSE",
    "mae": "MAE",
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "oa": "overall accuracy",
    "aa": "average accuracy",
    "map": "mean average precision",
    "ap": "AP",
    "ap50": "AP at OKS 0.50",
    "ap75": "AP at OKS 0.75",
    "ap_m": "AP, medium persons",
    "ap_l": "AP, large persons",
    "ar": "AR",
    "ar50": "AR at OKS 0.50",
    "ar75": "AR at OKS 0.75",
    "ar_m": "AR, medium persons",
    "ar_l": "AR, large persons",
    "pck": "PCK",
    "joint_error": "error of joints [pixels]",
    "energy_mae": "energy MAE",
    "energy_mae_per_atom": "energy MAE per atom",
    "force_mae": "force MAE",
    "force_rmse": "force RMSE",
    "force_cosine": "force cosine",
    "efwt": "energy and forces within threshold",
    "stress_mae": "stress MAE",
    "regret": "cumulative regret",
    "greedy_regret": "cumulative regret, greedy",
    "regret_over_thompson": "regret over that of Thompson sampling",
    "auc": "AUC",
    "log_loss": "log loss",
    "normalized_entropy": "normalised entropy",
    "calibration_error": "calibration error",
    "group_auc": "AUC within groups",
    "ndcg": "NDCG",
    "bayes_auc": "AUC of the true probabilities",
    "bayes_log_loss": "log loss of the true probabilities",
    "attained": "share of the attainable AUC",
}

# Metrics of which the largest value is the best one.
GREATER_IS_BETTER = frozenset({"correlation", "top1", "top5", "pck", "ap", "ap50", "ap75"})
GREATER_IS_BETTER |= {"ap_m", "ap_l", "ar", "ar50", "ar75", "ar_m", "ar_l"}
GREATER_IS_BETTER |= {"force_cosine", "efwt", "accuracy", "return", "map"}
GREATER_IS_BETTER |= {"auc", "group_auc", "ndcg", "recall", "attained"} | {"oa", "aa", "kappa"}

# Metrics whose dataset value is the square root of the mean over samples.
ROOT_OF_MEAN = frozenset({"rmse", "force_rmse"})
