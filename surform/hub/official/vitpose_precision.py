"""Replay of ViTPose's evaluation on COCO: rescored poses, suppression, average precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surform.data.pose_truth import PoseTruth
from surform.hub.official.fixture import Fixture, Replay
from surform.registry import import_object

__all__ = ["coco_ap"]

State = dict[str, Tensor]
# of COCO's 17 joints, the only ones that the official class evaluates
_SIGMAS = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
_PADDING = 1.25
_UNIT = 200.0


def coco_ap(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Crops of the boxes, the poses that are kept, and the ten numbers; -1 where undefined."""
    given, inputs = fixture.constructor, fixture.inputs(dtype)
    values = {name: value.detach().cpu().numpy() for name, value in inputs.items()}
    center, scale = _crops(inputs["db_bbox"].detach(), inputs["boxes"].detach())
    sigmas = [number / 1000 for number in _SIGMAS]
    kept = _poses(values).rescored(given.get("vis_thr", 0.2))
    if given.get("nms", "oks") == "oks":
        suppress = import_object("surform.vision.pose_suppression:suppressed")
        soft = bool(given.get("soft_nms", False))
        kept = suppress(kept, sigmas, given.get("oks_thr", 0.9), soft=soft)
    figures = import_object("surform.vision.keypoint_precision:keypoint_precision")
    found = figures(kept, _truth(values, fixture.path.name), sigmas)
    triples = np.concatenate((kept.keypoints, kept.joint_scores[..., None]), 2)
    outputs = {
        "db_center": center,
        "db_scale": scale,
        "kept_image_id": torch.from_numpy(kept.image_id),
        "kept_keypoints": torch.from_numpy(triples).flatten(1),
        "kept_score": torch.from_numpy(kept.score),
        "stats": torch.tensor(list(found.values())).nan_to_num(-1.0),
    }
    return Replay(outputs, inputs, nn.Identity(), to_official=lambda state: state)


def _poses(values: dict[str, np.ndarray]) -> Any:
    """The network's poses by image, each image's by the number of its box, every box once."""
    boxes, poses = values["boxes"].astype(np.float64), values["preds"].astype(np.float64)
    found = import_object("surform.vision.found_poses:FoundPoses")(
        image_id=values["image_id"],
        keypoints=poses[..., :2],
        joint_scores=poses[..., 2],
        score=boxes[:, 5],
        area=boxes[:, 4],
        boxes=boxes[:, :4],
        number=values["bbox_id"],
    ).once()
    images = list(dict.fromkeys(found.image_id.tolist()))
    place = np.array([images.index(image) for image in found.image_id.tolist()])
    return found.rows(np.lexsort((found.number, place)))


def _truth(values: dict[str, np.ndarray], where: str) -> PoseTruth:
    points = values["gt_keypoints"].astype(np.float64)
    return PoseTruth(
        image_id=values["gt_image_id"],
        keypoints=points[..., :2],
        flags=points[..., 2].astype(np.int64),
        area=values["gt_area"].astype(np.float64),
        boxes=values["gt_bbox"].astype(np.float64),
        crowd=values["gt_iscrowd"].astype(bool),
        labelled=values["gt_num_keypoints"],
        where=where,
    )


def _crops(boxes: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale of every box; the crops' shape is that of the first recorded one."""
    center = boxes[:, :2] + boxes[:, 2:] / 2
    ratio = float(crops[0, 2] / crops[0, 3])
    width, height = boxes[:, 2:].unbind(1)
    width, height = torch.maximum(width, height * ratio), torch.maximum(height, width / ratio)
    return center, torch.stack((width, height), 1) / _UNIT * _PADDING
