"""Replay of the official crops: matrices, warped images and joints of both warps, the mirror."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surform.data.pose_crops import crop_matrix, cut, joints_in_crop, mirrored_joints
from surform.data.pose_published import keypoint_set
from surform.hub.official.fixture import Fixture, Replay

__all__ = ["affine"]

# of the recorded images: OpenCV before version 5 rounds places to 1/32 of a pixel
_GREY_LEVELS = 2.0
_WARPS = {"udp": True, "classic": False}


def affine(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Crops of one image, one for each row of centre, scale and rotation."""
    image = fixture.tensors["in/image_hwc_u8"].numpy()
    width, height = fixture.constructor["image_size_wh"]
    given = {name: _numbers(fixture, name) for name in ("center", "scale", "rotation", "joints")}
    visible = _numbers(fixture, "visible")[..., 0]
    outputs: dict[str, Tensor] = {}
    for name, aligned in _WARPS.items():
        matrices = [
            crop_matrix(center, scale, float(turn), (height, width), aligned=aligned)
            for center, scale, turn in zip(
                given["center"], given["scale"], given["rotation"].ravel(), strict=True
            )
        ]
        crops = [cut(image, matrix, (height, width)).transpose(1, 2, 0) for matrix in matrices]
        joints = given["joints"].copy()
        for row, matrix in enumerate(matrices):
            joints[row, :, :2] = joints_in_crop(
                joints[row, :, :2], visible[row], matrix, aligned=aligned
            )
        made: dict[str, Any] = {"matrix": matrices, "image_hwc_u8": crops, "joints": joints}
        outputs |= {f"{name}_{key}": torch.from_numpy(np.stack(v)) for key, v in made.items()}
    outputs |= _mirrored(given["joints"][0], visible[0], image.shape[1])
    slack = {f"out/{name}_image_hwc_u8": _GREY_LEVELS for name in _WARPS}
    return Replay(outputs, {}, nn.Identity(), to_official=lambda state: state, slack=slack)


def _mirrored(joints: np.ndarray, visible: np.ndarray, width: int) -> dict[str, Tensor]:
    """Joints and visibilities as the official code keeps them: three columns, the last 0."""
    places, labelled = mirrored_joints(joints[:, :2], visible, width, keypoint_set("coco").mirror)
    empty = np.zeros((len(labelled), 1))
    return {
        "flip_joints": torch.from_numpy(np.concatenate((places, empty), 1)),
        "flip_visible": torch.from_numpy(
            np.concatenate((labelled[:, None], labelled[:, None], empty), 1)
        ),
    }


def _numbers(fixture: Fixture, name: str) -> np.ndarray:
    return fixture.tensors[f"in/{name}"].double().numpy()
