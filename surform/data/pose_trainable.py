"""Which annotations of a COCO file can be trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.pose_records import ImageList, Persons

__all__ = ["trainable"]


def trainable(
    truth: Persons, annotations: Sequence[Mapping[str, Any]], images: ImageList, path: Path
) -> tuple[Persons, dict[str, int]]:
    """Persons with a box and a joint, boxes clipped to the last pixels; what is left out.

    Where no area is given, it is the box's.
    """
    area = np.where(np.isnan(truth.area), truth.boxes[:, 2:].prod(1), truth.area)
    counted = [a.get("num_keypoints") != 0 for a in annotations]
    labelled = (truth.flags > 0).any(1) & np.array(counted, bool)
    height, width = images.sizes[truth.image].T.astype(np.float64)
    left, top, across, down = truth.boxes.T
    outside = (left >= width) | (top >= height) | (left + across <= 0) | (top + down <= 0)
    sized = (across > 0) & (down > 0)
    wrong = outside & sized & ~truth.crowd & labelled
    if wrong.any():
        n = int(np.argmax(wrong))
        raise ValueError(
            f"{path}: annotation {truth.ids[n]} has the box {truth.boxes[n].tolist()} outside its "
            f"image of {width[n]:g} x {height[n]:g} pixels (width x height)"
        )
    low = np.maximum(truth.boxes[:, :2], 0)
    last = np.stack((width, height), -1) - 1
    high = np.minimum(last, low + np.maximum(truth.boxes[:, 2:] - 1, 0))
    boxed = (high > low).all(1) & (area > 0)
    kept = ~truth.crowd & labelled & boxed
    left_out = {
        "crowds": int(truth.crowd.sum()),
        "annotations without a labelled joint": int((~truth.crowd & ~labelled).sum()),
        "boxes without area": int((~truth.crowd & labelled & ~boxed).sum()),
    }
    boxes = np.concatenate((low, high - low), 1)
    clipped = Persons(**{**vars(truth), "boxes": boxes, "area": area})
    return clipped.take(kept), {what: count for what, count in left_out.items() if count}
