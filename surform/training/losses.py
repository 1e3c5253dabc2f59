"""Losses in the exact forms of the papers: `loss(prediction, batch) -> scalar`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surform.training.differences import central_differences, gradient, inner, spacings
from surform.training.horizon_losses import MeanAbsoluteError, SignalDecay
from surform.training.prediction import Prediction

__all__ = ["MeanAbsoluteError", "MeanSquaredError", "RelativeL2", "RelativeL2H1"]
__all__ += ["ScalarVelocityL2", "SignalDecay", "relative_l2"]

GUARDS = ("floor", "epsilon", "none")


class MeanSquaredError(nn.Module):
    """Mean of (output - target)^2 over everything."""

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, in squared units of the fields."""
        return prediction.squared_error.mean()


class RelativeL2(nn.Module):
    """Mean over the batch of ||output - target|| / ||target||, norms over time and space jointly.

    Args:
        guard: what keeps small targets from dividing by zero. "floor": sums, the denominator at
            least 1e-5 (FactFormer, arXiv 2305.17560); "epsilon": means, 1e-10 added to the
            denominator (Galerkin Transformer in 2-D, arXiv 2105.14995); "none": plain sums (1-D).
        channels: "joint" takes norms over all channels together, "separate" one norm per channel,
            averaged over the channels.
    """

    def __init__(
        self,
        guard: Literal["floor", "epsilon", "none"] = "floor",
        channels: Literal["joint", "separate"] = "joint",
    ) -> None:
        super().__init__()
        if guard not in GUARDS:
            raise ValueError(f"unknown guard {guard!r}: choose {', '.join(GUARDS)}")
        if channels not in ("joint", "separate"):
            raise ValueError(f"channels must be 'joint' or 'separate', got {channels!r}")
        self.guard = guard
        self.channels = channels

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, a scalar without units."""
        return relative_l2(prediction, self.guard, self.channels == "separate").mean()

    def extra_repr(self) -> str:
        return f"guard={self.guard}, channels={self.channels}"


class ScalarVelocityL2(nn.Module):
    """Relative L2 of the scalar channels plus that of the velocity, each averaged over components.

    The loss of FactFormer's smoke and turbulence models (arXiv 2305.17560), on physical fields.

    Args:
        scalars: how many channels are scalars; the others are velocity components.
        scalars_last: the scalars are the trailing channels (u, v, w, p), not the leading ones.
    """

    def __init__(self, scalars: int = 1, scalars_last: bool = False) -> None:
        super().__init__()
        if scalars < 1:
            raise ValueError(f"scalars must be at least 1, got {scalars}")
        self.scalars = scalars
        self.scalars_last = scalars_last

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, a scalar without units."""
        count = prediction.output.shape[-1]
        if count <= self.scalars:
            raise ValueError(
                f"ScalarVelocityL2 needs velocity channels beside the {self.scalars} scalar ones, "
                f"but the fields have {count} channels"
            )
        split = count - self.scalars if self.scalars_last else self.scalars
        first = relative_l2(prediction.channels(0, split), "floor", separate=True)
        second = relative_l2(prediction.channels(split, count), "floor", separate=True)
        return first.mean() + second.mean()


class RelativeL2H1(nn.Module):
    """Relative L2 plus a penalty on the error of the gradient (Galerkin Transformer, 2105.14995).

    On one axis: `mean_b sqrt(sum (p-u)^2 / sum u^2)` +
    `mean_b sqrt(gamma h * h sum (u'[1:-1] - D p)^2 / (h sum u'^2))`.
    On two axes: the first term with means and 1e-10, and `mean_b sqrt(gamma h *
    mean (a (grad u - D p))^2 / (2 mean(a (grad u)^2) + 1e-10))`, means over the inner nodes and
    both components. D is the central difference over 2h; h is the grid spacing on one axis and,
    as published, extent / points on two.

    The derivatives of the target come from `batch.auxiliary` (taken on a finer grid, they know
    more than the coarse target); where they are missing, from differences of the target itself.

    Args:
        gamma: weight of the penalty (0.1 on one axis, 0.5 on two).
        coefficient: input channel that holds the coefficient a; None means a = 1.
        derivatives: names in `batch.auxiliary`, one per axis.
    """

    def __init__(
        self,
        gamma: float = 0.1,
        coefficient: int | None = None,
        derivatives: Sequence[str] = ("du_dx", "du_dy"),
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        self.gamma = gamma
        self.coefficient = coefficient
        self.derivatives = tuple(derivatives)

    def forward(self, prediction: Prediction, batch: Any) -> Tensor:
        """The loss, a scalar; `prediction` must be in physical units."""
        axes = len(batch.target_coordinates)
        if axes not in (1, 2) or prediction.output.ndim != axes + 2:
            raise ValueError("RelativeL2H1 is for steady fields on one or two axes")
        if prediction.output.shape[-1] != 1:
            raise ValueError("RelativeL2H1 is for one channel; use RelativeL2 for several")
        steps = spacings(batch.target_coordinates)
        if axes == 2:
            steps = [
                h * (len(x) - 1) / len(x)
                for h, x in zip(steps, batch.target_coordinates, strict=True)
            ]
        slopes = self._target_slopes(prediction.target[..., 0], batch, steps)
        differences = central_differences(prediction.output[..., 0], steps)
        error = inner(slopes, range(axes)) - differences
        if axes == 1:
            ratio = error.square().sum((1, 2)) / slopes.square().sum((1, 2))
        else:
            ratio = self._planar_ratio(error, inner(slopes, range(axes)), batch)
        guard = "none" if axes == 1 else "epsilon"
        penalty = _safe_sqrt(self.gamma * steps[0] * ratio)
        return relative_l2(prediction, guard).mean() + penalty.mean()

    def _target_slopes(self, target: Tensor, batch: Any, steps: list[float]) -> Tensor:
        names = self.derivatives[: len(steps)]
        if all(name in batch.auxiliary for name in names):
            return torch.stack([batch.auxiliary[name] for name in names], dim=-1)
        return gradient(target, steps)

    def _planar_ratio(self, error: Tensor, slopes: Tensor, batch: Any) -> Tensor:
        weight: Tensor | float = 1.0
        if self.coefficient is not None:
            values = batch.inputs[..., self.coefficient]
            if values.shape != slopes.shape[:1] + tuple(n + 2 for n in slopes.shape[1:3]):
                raise ValueError("RelativeL2H1 needs the coefficient on the grid of the targets")
            weight = inner(values, (0, 1)).unsqueeze(-1)
        scale = 2 * (weight * slopes.square()).mean((1, 2, 3)) + 1e-10
        return (weight * error).square().mean((1, 2, 3)) / scale


def relative_l2(prediction: Prediction, guard: str = "floor", separate: bool = False) -> Tensor:
    """||output - target|| / ||target|| per sample `(B,)`; see `RelativeL2` for the arguments."""
    prediction = prediction.float()
    last = prediction.output.ndim - 1
    dims = list(range(1, last if separate else last + 1))
    error, size = prediction.squared_error, prediction.squared_target
    if guard == "epsilon":
        ratio = error.mean(dims) / (size.mean(dims) + 1e-10)
    else:
        size = size.sum(dims)
        ratio = error.sum(dims) / (size.clamp(min=1e-5) if guard == "floor" else size)
    norm = _safe_sqrt(ratio)
    return norm.mean(-1) if separate else norm


def _safe_sqrt(values: Tensor) -> Tensor:
    # The square root has no derivative at 0: a perfect prediction must give gradient 0, not NaN.
    return torch.where(values == 0, 0.0, values.clamp(min=torch.finfo(values.dtype).tiny).sqrt())
