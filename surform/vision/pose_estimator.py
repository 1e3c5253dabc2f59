"""A pose network with the colours that it was trained on: crops in, heatmaps out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from surform.data.normalizers import Normalizer
from surform.data.pose_batch import PoseBatch
from surform.data.pose_description import PoseDescription
from surform.hub.pretrained import Pretrained
from surform.layers.adapted import Adapted
from surform.vision.flipping import flip_test
from surform.vision.heatmap_decoding import Joints
from surform.vision.pose_locating import locate

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
    usage: ClassVar[str] = (
        "poses = model.predict('photos/')  # files or arrays, with or without boxes"
    )
    file_options: ClassVar[tuple[str, ...]] = (
        "boxes", "batch_size", "flip_test", "keypoint_set", "dataset", "least_score", "pictures",
    )  # fmt: skip
    description: PoseDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.normalizer = Normalizer(_column(IMAGENET_MEAN), _column(IMAGENET_STD))

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> PoseDescription:
        return PoseDescription.from_dict(values)

    def fit_to(self, description: PoseDescription, colors: Normalizer) -> None:
        """Take over the description and the colours of the training data."""
        self.description, self.normalizer = description, colors
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics are not those of three colours."""
        found = tuple(self.normalizer.mean.shape)
        if found not in ((), (3, 1, 1)):
            raise ValueError(f"the statistics of the normalizer have shape {found}, not (3, 1, 1)")

    @property
    def plain(self) -> Any:
        """The pose network, without the adapters around it."""
        return self.net.net if isinstance(self.net, Adapted) else self.net

    @property
    def several(self) -> bool:
        """Whether the network knows several data sets, and wants each crop's number."""
        return hasattr(self.plain, "experts")

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
        wants = self.several
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

    def heatmaps(
        self, crops: Tensor, dataset: Int[Tensor, " b"], *, flip: bool
    ) -> Float[Tensor, "b k h w"]:
        """Of normalised crops; K is that of the widest head, as the network gives them.

        Args:
            dataset: number of each crop's data set.
            flip: average them with those of the mirrored crops; needs the description's pairs.
        """
        if not flip:
            return self.net(crops, dataset) if self.several else self.net(crops)
        about = self.described()
        if not self.several:
            return self._flipped(crops, 0, about)
        out: Tensor | None = None
        for number in dataset.unique().tolist():
            own = (dataset == number).nonzero().flatten()
            maps = self._flipped(crops[own], number, about, number)
            if out is None:
                out = maps.new_zeros(len(crops), max(about.joints), *maps.shape[2:])
            maps = torch.nn.functional.pad(maps, (0, 0, 0, 0, 0, out.shape[1] - maps.shape[1]))
            out = out.index_copy(0, own, maps)
        assert out is not None
        return out

    def located(
        self, heatmaps: Tensor, dataset: Int[Tensor, " b"], center: Tensor, scale: Tensor
    ) -> Joints:
        """Joints in pixels of the images that crops were cut from; see `locate`.

        Of data sets with fewer joints than the widest one, the last ones mean nothing.
        """
        about = self.described()
        if len(about.sets) == 1:
            return locate(heatmaps, about.encodings[0], center, scale)  # type: ignore[arg-type]
        wide = torch.promote_types(heatmaps.dtype, torch.float32)
        xy = heatmaps.new_zeros(*heatmaps.shape[:2], 2, dtype=wide)
        score = heatmaps.new_zeros(heatmaps.shape[:2], dtype=wide)
        for number in dataset.unique().tolist():
            own = (dataset == number).nonzero().flatten()
            encoding: Any = about.encodings[number]
            found = locate(heatmaps[own], encoding, center[own], scale[own])
            xy[own], score[own] = found.xy.to(xy), found.score.to(score)
        return Joints(xy, score)

    def outputs(self, batch: PoseBatch) -> Float[Tensor, "b k 3"]:
        """x and y in pixels of the image, and the score, of every joint of a batch's crops."""
        maps = self.heatmaps(self.normalized(batch.images), batch.dataset, flip=True)
        found = self.located(maps, batch.dataset, batch.center, batch.scale)
        return torch.cat((found.xy, found.score[..., None]), -1)

    def described(self) -> PoseDescription:
        """What the network was trained on; ValueError where that is not known."""
        if self.description is None:
            self.describe_as(None)
        assert self.description is not None
        return self.description

    def describe_as(self, keypoint_set: str | None) -> None:
        """Say which published joints the heatmaps of converted weights are.

        Args:
            keypoint_set: name of the set; None for published ViTPose+ weights, which have all six.

        Raises:
            ValueError: no such set, or one with other joints.
        """
        from surform.vision.pose_describing import published_description

        self.description = published_description(self.plain, keypoint_set)

    def _flipped(self, crops: Tensor, number: int, about: PoseDescription, *beside: int) -> Tensor:
        offsets = about.encodings[number] == "udp_combined"
        pairs = about.sets[number].pairs
        return flip_test(self.net, crops, pairs, *beside, offsets=offsets)

    def example_inputs(self) -> dict[str, Tensor]:
        """Two crops between 0 and 1, for ViTPose+ of the first and the last data set."""
        given = self.plain.__dict__.get("arguments", {})
        if not {"image_size", "in_channels"} <= set(given):
            return super().example_inputs()
        dtype = next(self.parameters()).dtype
        crops = torch.rand(2, given["in_channels"], *given["image_size"]).to(dtype)
        if "experts" not in given:
            return {"images": crops}
        return {"images": crops, "dataset": torch.tensor([0, given["experts"] - 1])}

    def normalized(self, images: Tensor) -> Tensor:
        """Crops as the network takes them, in the precision of its weights."""
        if images.dtype == torch.uint8:
            images = images.to(self.normalizer.mean.dtype) / 255
        return self.normalizer(images).to(next(self.parameters()).dtype)

    def predict(self, source: Any, **options: Any) -> Any:
        """Find the joints of persons; see `surform.vision.pose_predicting.predict`.

        Args:
            source: images: a folder, a file, or arrays.
            options: of `surform.vision.pose_predicting.predict`.
        """
        from surform.vision.pose_predicting import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, into a .json file and pictures; see `surform.vision.pose_files`."""
        from surform.vision.pose_files import predict_file

        return predict_file(self, source, out, **options)

    def fit_colors(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the mean and deviation of other colours, per channel, in [0, 1]."""
        self.normalizer.fit(_column(mean), _column(std))


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]
