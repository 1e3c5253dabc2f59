"""What training does to a crop of a person: mirror, halve, scale, turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surform.data.pose_crops import half_body, mirrored_joints
from surform.data.pose_keypoints import KeypointSet

__all__ = ["PLAIN", "PoseVariation", "View"]

# "rotate" is clipped at so many deviations
_MOST_TURNS = 2.0


@dataclass(frozen=True)
class View:
    """How a person is seen: joints (K, 2) and visible (K,) in pixels of the (mirrored) image, the
    crop's centre (2,), scale (2,) and rotation in degrees, and whether the image is mirrored.
    """

    joints: np.ndarray
    visible: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    rotation: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True)
class PoseVariation:
    """Published: flip 0.5, half_body 0.3, scale 0.5, rotate 40 with probability 0.6.

    Args:
        flip: probability of the mirror image.
        half_body: probability of a crop of one half of the body, of persons with more than
            `half_body_joints` labelled joints.
        half_body_joints: see there.
        scale: deviation of the factor of the crop's size, clipped at one deviation.
        rotate: deviation of the angle in degrees, clipped at two.
        rotate_probability: that a crop is turned at all.
        upper_share: probability that the upper half is taken where both halves have three joints;
            0.69 is what comes of the published condition.
    """

    flip: float = 0.5
    half_body: float = 0.3
    half_body_joints: int = 8
    scale: float = 0.5
    rotate: float = 40.0
    rotate_probability: float = 0.6
    upper_share: float = 0.6914624612740131  # of a normal number below 0.5

    def __post_init__(self) -> None:
        for name in ("flip", "half_body", "rotate_probability", "upper_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be from 0 to 1")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale is {self.scale}, but must be at least 0 and less than 1")
        if self.rotate < 0 or self.half_body_joints < 0:
            raise ValueError("rotate and half_body_joints must not be negative")

    def __call__(
        self,
        view: View,
        own: KeypointSet,
        width: int,
        image_size: tuple[int, int],
        generator: np.random.Generator,
    ) -> View:
        """The varied view.

        Args:
            own: the set that the joints belong to.
            width: of the image.
            image_size: height and width of the crop.
        """
        chance = generator.random(4)
        spread = generator.standard_normal(2)
        joints, visible, center, scale = view.joints, view.visible, view.center, view.scale
        mirrored = bool(chance[0] < self.flip)
        if mirrored:
            joints, visible = mirrored_joints(joints, visible, width, own.mirror)
            center = np.array([width - 1 - center[0], center[1]])
        if own.upper and (visible > 0).sum() > self.half_body_joints and chance[1] < self.half_body:
            half = self._half(joints, visible, own, chance[2])
            if half is not None:
                center, scale = half_body(half, image_size)
        scale = scale * np.clip(1 + self.scale * spread[0], 1 - self.scale, 1 + self.scale)
        turned = chance[3] < self.rotate_probability
        rotation = float(np.clip(spread[1], -_MOST_TURNS, _MOST_TURNS)) * self.rotate
        return View(joints, visible, center, scale, rotation if turned else 0.0, mirrored)

    def _half(
        self, joints: np.ndarray, visible: np.ndarray, own: KeypointSet, chance: float
    ) -> np.ndarray | None:
        """Labelled joints of the half that is taken; None where neither has two apart."""
        upper = np.zeros(len(own), bool)
        upper[list(own.upper)] = True
        labelled = visible > 0
        above, below = joints[labelled & upper], joints[labelled & ~upper]
        if chance < self.upper_share and len(above) > 2:
            chosen = above
        else:
            chosen = below if len(below) > 2 else above
        if len(chosen) < 2 or not np.ptp(chosen, 0).any():
            return None
        return chosen


PLAIN = PoseVariation(flip=0, half_body=0, scale=0, rotate=0, rotate_probability=0)
