"""A pose network with the colours that it was trained on: crops in, heatmaps out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained
from surform.vision.flipping import flip_test

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "PoseEstimator"]

# of red, green and blue in [0, 1]: what all published weights expect
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PoseEstimator(Pretrained):
    """Heatmaps of the joints in crops of one person or animal each.

    Args:
        net: a registered pose network: `vitpose`, or `vitpose_plus`, which wants the number of each
            crop's data set.
    """

    kind: ClassVar[str] = "pose"
    usage: ClassVar[str] = "heatmaps = model(crops)  # (B, 3, H, W) in [0, 1] or bytes -> joints"

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.normalizer = Normalizer(_column(IMAGENET_MEAN), _column(IMAGENET_STD))

    def forward(
        self,
        images: Shaped[Tensor, "b c h w"],
        dataset: Int[Tensor, " b"] | int | None = None,
        pairs: Sequence[tuple[int, int]] | None = None,
    ) -> Tensor:
        """Heatmaps (B, K, h, w); `surform.vision.heatmap_decoding.decode` finds the joints.

        Args:
            images: crops in the network's size: red, green and blue in [0, 1], or bytes.
            dataset: for `vitpose_plus`, one number for all crops or one per crop.
            pairs: numbers of (left, right) joints, to average with the mirrored crops' heatmaps.

        Raises:
            ValueError: crops of another size, or a data set where none, or one, is wanted.
        """
        wants = hasattr(self.net, "experts")
        if wants != (dataset is not None):
            raise ValueError(
                f"{type(self.net).__name__} {'needs' if wants else 'takes no'} number of a data set"
                f" (dataset), but it was given {'none' if dataset is None else 'one'}"
            )
        beside: tuple[Any, ...] = () if dataset is None else (dataset,)
        crops = self.normalized(images)
        if pairs is None:
            return self.net(crops, *beside)
        return flip_test(self.net, crops, pairs, *beside)

    def example_inputs(self) -> dict[str, Tensor]:
        """Two crops between 0 and 1, for ViTPose+ of the first and the last data set."""
        given = self.net.__dict__.get("arguments", {})
        if not {"image_size", "in_channels"} <= set(given):
            return super().example_inputs()
        dtype = next(self.parameters()).dtype
        crops = torch.rand(2, given["in_channels"], *given["image_size"]).to(dtype)
        if "experts" not in given:
            return {"images": crops}
        return {"images": crops, "dataset": torch.tensor([0, given["experts"] - 1])}

    def normalized(self, images: Tensor) -> Tensor:
        """Crops as the network takes them."""
        if images.dtype == torch.uint8:
            images = images.to(self.normalizer.mean.dtype) / 255
        return self.normalizer(images)

    def fit_colors(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the mean and deviation of other colours, per channel, in [0, 1]."""
        self.normalizer.fit(_column(mean), _column(std))


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]
