"""Losses of heatmaps: `loss(prediction, batch) -> scalar`, as published pose codes weigh joints.

A joint's weight multiplies its map before it is squared, and joints of weight 0 count in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.training.prediction import Prediction

__all__ = ["CombinedHeatmapMSE", "HardKeypointMSE", "HeatmapMSE", "HeatmapPrediction"]
__all__ += ["per_head_losses"]


@dataclass(frozen=True)
class HeatmapPrediction(Prediction):
    """Heatmaps beside their target, `(B, C, H, W)`.

    Args:
        weight: (B, K) of the joints, or None for equal ones.
        joints: (B,), how many of the joints each sample's own head has, where samples come from
            data sets with other joints; None: all.
    """

    joints: Tensor | None = None


class HeatmapMSE(nn.Module):
    """Mean over joints, samples and pixels of ((output - target) * weight)^2."""

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, in squared units of the heatmaps."""
        return _mean_of_joints(_squares(prediction), prediction)


class HardKeypointMSE(nn.Module):
    """The mean of each sample's `top` hardest joints alone (OHKM: Chen et al., arXiv 1711.07319).

    Args:
        top: how many joints; a sample with fewer counts all it has, and is divided by `top`.
    """

    def __init__(self, top: int = 8) -> None:
        super().__init__()
        at_least(1, top=top)
        self.top = top

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss, in squared units of the heatmaps; `weight` as for `HeatmapMSE`.

        Raises:
            ValueError: no sample can have so many joints.
        """
        losses = _squares(prediction)
        if self.top > losses.shape[1]:
            raise ValueError(f"top is {self.top}, but there are only {losses.shape[1]} joints")
        own = _own(prediction, losses)
        if own is not None:
            losses = torch.where(own, losses, 0.0)
        return losses.topk(self.top, 1).values.sum(1).mean() / self.top

    def extra_repr(self) -> str:
        return f"top={self.top}"


class CombinedHeatmapMSE(nn.Module):
    """For targets with offsets, three channels per joint (Huang et al., UDP, arXiv 1911.07524).

    Half the mean squared error of the disc, its weight as for `HeatmapMSE`, and of each offset,
    which counts where the target's disc is, times the weight.
    """

    def forward(self, prediction: Prediction, batch: Any = None) -> Tensor:
        """The loss; ValueError when channels are no multiple of three."""
        output, target = prediction.output, prediction.target
        if output.shape[1] % 3:
            raise ValueError(
                f"targets with offsets have three channels per joint, not {output.shape[1]} in all"
            )
        output, target = (maps.unflatten(1, (-1, 3)) for maps in (output, target))
        weight = _weights(prediction, output[:, :, 0])
        disc = target[:, :, 0] * weight
        error = (output[:, :, 0] * weight - disc).square()
        offsets = ((output[:, :, 1:] - target[:, :, 1:]) * disc[:, :, None]).square()
        losses = 0.5 * (error + offsets.sum(2)).mean((2, 3))
        return _mean_of_joints(losses, prediction)


def per_head_losses(
    outputs: Sequence[Float[Tensor, "b _ h w"]],
    target: Float[Tensor, "b widest h w"],
    weight: Float[Tensor, "b widest"],
    dataset: Int[Tensor, " b"],
    loss: Callable[[Prediction, Any], Tensor] | None = None,
) -> Float[Tensor, " heads"]:
    """The loss of every head that saw the whole batch: other data sets' samples are zero to it.

    Their sum is the loss of each sample's own head (`HeatmapPrediction.joints`).

    Args:
        outputs: of each head, with as many channels as it has joints.
        target, weight: padded to the head with most joints; each head takes its own first ones.
        loss: of one head; None: `HeatmapMSE`.
    """
    loss = HeatmapMSE() if loss is None else loss
    found = []
    for number, output in enumerate(outputs):
        mine = (dataset == number).to(weight)[:, None]
        own = output.shape[1]
        maps = target[:, :own] * mine[..., None, None]
        found.append(loss(HeatmapPrediction(output, maps, weight[:, :own] * mine), None))
    return torch.stack(found)


def _squares(prediction: Prediction) -> Tensor:
    """(B, K): mean over pixels of the weighted squared error."""
    error = prediction.output - prediction.target
    return (error * _weights(prediction, error)).square().mean((2, 3))


def _weights(prediction: Prediction, maps: Tensor) -> Tensor:
    """(B, K, 1, 1)."""
    weight = prediction.weight
    if weight is None:
        return maps.new_ones(())
    if weight.shape != maps.shape[:2]:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, but must be (batch, joints) = "
            f"{tuple(maps.shape[:2])}"
        )
    return weight[..., None, None]


def _own(prediction: Prediction, losses: Tensor) -> Tensor | None:
    """(B, K): which joints each sample's own head has; None: all of them."""
    joints = getattr(prediction, "joints", None)
    if joints is None:
        return None
    return torch.arange(losses.shape[1], device=losses.device) < joints[:, None]


def _mean_of_joints(losses: Tensor, prediction: Prediction) -> Tensor:
    """Mean over samples of the mean over a sample's own joints."""
    own = _own(prediction, losses)
    if own is None:
        return losses.mean()
    return (torch.where(own, losses, 0.0).sum(1) / own.sum(1)).mean()
