"""The images of one split as a data set of whole batches, and the order that tells the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from surform.data.images_batch import ImageBatch
from surform.data.images_source import ImageSource
from surform.data.images_transforms import Preparation, Variation
from surform.data.order import BatchOrder

__all__ = ["EpochOrder", "ImageSamples"]


class ImageSamples:
    """Batches of a split, prepared for evaluation or varied for training.

    Training varies an image as a function of (seed, epoch, image) alone. A list of numbers n asks
    for image n modulo the number of images in epoch n divided by it: data loaders' workers live
    longer than an epoch and are told nothing else.

    Args:
        numbers: of the split's images in the source.
    """

    def __init__(
        self,
        source: ImageSource,
        numbers: np.ndarray,
        preparation: Preparation,
        variation: Variation | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.source, self.numbers, self.preparation = source, numbers, preparation
        self.variation, self.seed, self.dtype = variation, seed, dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, asked: Sequence[int]) -> ImageBatch:
        index = np.asarray(asked) % len(self)
        images = np.stack([self._image(int(number)) for number in asked])
        labels = self.source.labels
        targets = labels[self.numbers[index]] if len(labels) else labels
        pixels = torch.from_numpy(images)
        return ImageBatch(
            images=pixels if pixels.dtype == torch.uint8 else pixels.to(self.dtype),
            targets=torch.from_numpy(np.array(targets)),
            index=torch.from_numpy(index.astype(np.int64)),
        )

    def labels(self, index: torch.Tensor) -> dict[str, Any]:
        """What each image is called."""
        return {"name": [self.source.title(int(self.numbers[n])) for n in index.tolist()]}

    def _image(self, asked: int) -> np.ndarray:
        epoch, number = divmod(asked, len(self))
        place = int(self.numbers[number])
        image = self.source.read(place)
        if self.variation is None:
            return self.preparation(image)
        return self.variation(image, self.seed, epoch, place)


class EpochOrder(BatchOrder):
    """A `BatchOrder` whose numbers carry the epoch; see `ImageSamples`."""

    def __iter__(self) -> Iterator[list[int]]:
        first = self.epoch * self.windows
        for batch in super().__iter__():
            yield [first + number for number in batch]
