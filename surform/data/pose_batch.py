"""What a loader of poses yields."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from surform.data.tensor_batch import TensorBatch

__all__ = ["PoseBatch"]


@dataclass(eq=False)
class PoseBatch(TensorBatch):
    """Crops of one person or animal each, with its joints in the crop and in the image.

    K is the number of joints of the largest set; places that a crop's own set has not are 0.
    Treat it as immutable; not a frozen dataclass for the reason given at `FieldBatch`.

    Args:
        images: (B, 3, H, W) uint8, which stands for 0 to 1: red, green, blue, not normalised.
        joints: (B, K, 2) float, (x, y) in pixels of the crop, from the centre of its first pixel.
        visible: (B, K) float from 0 to 1: 0 where a joint is not labelled.
        dataset: (B,) int64, the number of the data set and of its head.
        center: (B, 2) float, (x, y) of the crop's centre in pixels of the image.
        scale: (B, 2) float, width and height of the crop in units of 200 pixels. In evaluation
            crops are not turned, so that `surform.vision.heatmap_decoding.to_image` leads back.
        boxes: (B, 4) float, the box that was cropped: left, top, width, height in the image.
        area: (B,) float, of the person in pixels of the image, as the annotation says; the box's
            where it says nothing.
        keypoints: (B, K, 2) float, (x, y) as annotated, in pixels of the image; 0 where unknown.
        flags: (B, K) int64, COCO's visibility: 0 not labelled, 1 hidden, 2 visible.
        score: (B,) float, of the box: 1 for annotated ones, the detector's for others.
        image_id: (B,) int64, as in the file.
        annotation_id: (B,) int64, as in the file; -1 for detections.
        category: (B,) int64, of the person or animal, as in the file.
        index: (B,) int64, the number of each crop in its split.
    """

    images: Tensor
    joints: Tensor
    visible: Tensor
    dataset: Tensor
    center: Tensor
    scale: Tensor
    boxes: Tensor
    area: Tensor
    keypoints: Tensor
    flags: Tensor
    score: Tensor
    image_id: Tensor
    annotation_id: Tensor
    category: Tensor
    index: Tensor

    def __len__(self) -> int:
        """The number of crops in the batch."""
        return len(self.images)
