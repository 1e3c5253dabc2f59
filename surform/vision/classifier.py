"""A classifier of images: network, normaliser of the channels, and what it was trained on."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.data.images_batch import ImageBatch
from surform.data.images_description import ImagesDescription
from surform.data.normalizers import Normalizer
from surform.hub.classifier import Classifier

__all__ = ["ImageClassifier"]


class ImageClassifier(Classifier):
    """Images in, logits of the classes out.

    Args:
        net: a registered classifier, `net(images) -> (B, K)`, images normalised, (B, C, H, W).
    """

    kind: ClassVar[str] = "images"
    learnt: ClassVar[str] = "its classes and what its images were normalised with"
    usage: ClassVar[str] = "table = model.predict('photos/')  # files or arrays; a DataFrame"
    file_options: ClassVar[tuple[str, ...]] = ("batch_size", "layout")
    description: ImagesDescription | None

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.normalizer = Normalizer()

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> ImagesDescription:
        return ImagesDescription.from_dict(values)

    def fit_to(self, description: ImagesDescription, channels: Normalizer) -> None:
        """Take over the description and the fitted normaliser of the training data."""
        self.description, self.normalizer = description, channels
        self.require_statistics()
        self.check_statistics()

    def check_statistics(self) -> None:
        """ValueError when the statistics do not fit the described channels."""
        about, found = self.description, tuple(self.normalizer.mean.shape)
        if about is not None and found not in ((), (len(about.channels), 1, 1)):
            raise ValueError(
                f"the statistics of the normalizer have shape {found}, the images "
                f"{len(about.channels)} channels"
            )

    def forward(self, images: Tensor) -> Float[Tensor, "b k"]:
        """Logits; images: (B, C, H, W), 0 to 1 or uint8 where trained on 8-bit images."""
        return self.net(self.normalized(images))

    def normalized(self, images: Tensor) -> Float[Tensor, "b c h w"]:
        """Images as the network wants them, in its precision; uint8 stands for 0 to 1."""
        if images.dtype == torch.uint8:
            images = images.to(self.normalizer.mean.dtype) / 255
        return self.normalizer.normalize(images).to(next(self.parameters()).dtype)

    def inputs(self, batch: ImageBatch) -> Tensor:
        """The images."""
        return batch.images

    def example_inputs(self) -> dict[str, Tensor]:
        """Two images between 0 and 1."""
        given = self.net.__dict__.get("arguments", {})
        if not {"image_size", "in_channels"} <= set(given):
            return super().example_inputs()
        size = given["image_size"]
        sides = (size, size) if isinstance(size, int) else size
        dtype = next(self.parameters()).dtype
        return {"images": torch.rand(2, given["in_channels"], *sides).to(dtype)}

    def predict(self, source: Any, **options: Any) -> Any:
        """Classify images; see `surform.vision.labelled.predict`.

        Args:
            source: files, a folder, an array or a dataset.
            options: of `surform.vision.labelled.predict`.
        """
        from surform.vision.labelled import predict

        return predict(self, source, **options)

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """`predict`, into a .csv or .parquet file; see `surform.vision.labelled`."""
        from surform.vision.labelled import predict_file

        return predict_file(self, source, out, **options)
