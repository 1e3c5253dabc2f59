"""The keypoint sets of ViTPose+'s data sets: COCO, AIC, MPII, AP-10K, APT-36K, COCO-WholeBody.

COCO's sigmas are those of its evaluation tool (cocodataset/cocoapi), WholeBody's those of
jin-s13/COCO-WholeBody, AIC's those of AI Challenger's keypoint_eval.py (its delta is 2 sigma).
AP-10K and MPII published none: theirs are what mmpose 0.24 assigns to them, after COCO's; APT-36K
takes AP-10K's, as ViTPose does.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from surform.data.pose_keypoints import KeypointSet

__all__ = ["PUBLISHED", "keypoint_set"]

Pairs = tuple[tuple[int, int], ...]

_COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
_COCO_PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
    0.087, 0.087, 0.089, 0.089,
)  # fmt: skip

_AIC_JOINTS = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "head_top",
    "neck",
)  # fmt: skip
_AIC_SKELETON = (
    (2, 1), (1, 0), (0, 13), (5, 4), (4, 3), (3, 13), (8, 7), (7, 6), (11, 10), (10, 9), (6, 9),
    (12, 13), (0, 6), (3, 9),
)  # fmt: skip
_AIC_SIGMAS = (
    0.01388152, 0.01515228, 0.01057665, 0.01417709, 0.01497891, 0.01402144, 0.03909642, 0.03686941,
    0.01981803, 0.03843971, 0.03412318, 0.02415081, 0.01291456, 0.01236173,
)  # fmt: skip
_MPII_JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis",
    "thorax", "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder",
    "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_MPII_SKELETON = (
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9), (8, 12), (12, 11),
    (11, 10), (8, 13), (13, 14), (14, 15),
)  # fmt: skip
_MPII_SIGMAS = (
    0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026, 0.062, 0.072, 0.179,
    0.179, 0.072, 0.062,
)  # fmt: skip
_ANIMAL_JOINTS = (
    "left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow",
    "left_front_paw", "right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee",
    "left_back_paw", "right_hip", "right_knee", "right_back_paw",
)  # fmt: skip
_ANIMAL_SKELETON = (
    (0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10),
    (4, 11), (11, 12), (12, 13), (4, 14), (14, 15), (15, 16),
)  # fmt: skip
_ANIMAL_SIGMAS = (
    0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107, 0.087,
    0.089, 0.107, 0.087, 0.089,
)  # fmt: skip

_FOOT_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
_FACE_SIGMAS = (
    0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037,
    0.038, 0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013,
    0.015, 0.009, 0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009,
    0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008,
    0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008,
    0.008, 0.010, 0.008,
)  # fmt: skip
_HAND_SIGMAS = (
    0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026,
    0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031,
)  # fmt: skip
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_FACE = tuple(f"face_{n}" for n in range(68))
_FEET = tuple(f"{s}_{part}" for s in ("left", "right") for part in ("big_toe", "small_toe", "heel"))


def keypoint_set(name: str) -> KeypointSet:
    """A published set; ValueError names those there are."""
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, PUBLISHED, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"unknown keypoint set {name!r}: {hint}published ones are {', '.join(PUBLISHED)}; "
            "'file' takes the joints as the file names them"
        )
    return PUBLISHED[name]


def _hand(side: str) -> tuple[str, ...]:
    return (f"{side}_hand_root", *(f"{side}_{f}{n}" for f in _FINGERS for n in range(1, 5)))


def _whole_body() -> KeypointSet:
    """COCO's body, three joints of each foot, 68 of the face, 21 of each hand."""
    foot, face, left, right = 17, 23, 91, 112
    hands: list[tuple[int, int]] = []
    for root in (left, right):
        for finger in range(5):
            first = root + 1 + 4 * finger
            hands += [(root, first), *((first + n, first + n + 1) for n in range(3))]
    feet = tuple((15 if toe < 3 else 16, foot + toe) for toe in range(6))
    return KeypointSet(
        name="coco_wholebody",
        joints=(*_COCO_JOINTS, *_FEET, *_FACE, *_hand("left"), *_hand("right")),
        skeleton=(*_COCO_SKELETON, *feet, (9, left), (10, right), *hands),
        pairs=(
            *_COCO_PAIRS,
            *((foot + n, foot + n + 3) for n in range(3)),
            *((face + a, face + b) for a, b in _face_pairs()),
            *((left + n, right + n) for n in range(21)),
        ),
        upper=(*range(11), *range(face, right + 21)),
        sigmas=(*_COCO_SIGMAS, *_FOOT_SIGMAS, *_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS),
        weights=(1.0,) * 133,
        categories=("person",),
    )


def _face_pairs() -> Pairs:
    """Of the 68 points: jaw, brows, nostrils, eyes, outer and inner lips."""
    runs = ((0, 16, 8), (17, 26, 5), (31, 35, 2), (48, 54, 3), (60, 64, 2))
    pairs = [(first + n, last - n) for first, last, count in runs for n in range(count)]
    eyes = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
    lower_lip = ((59, 55), (58, 56), (67, 65))
    return (*pairs, *eyes, *lower_lip)


def _animals(name: str) -> KeypointSet:
    return KeypointSet(
        name=name,
        joints=_ANIMAL_JOINTS,
        skeleton=_ANIMAL_SKELETON,
        pairs=((0, 1), (5, 8), (6, 9), (7, 10), (11, 14), (12, 15), (13, 16)),
        upper=(0, 1, 2, 3, 5, 6, 7, 8, 9, 10),
        sigmas=_ANIMAL_SIGMAS,
        weights=_weights(17, far=(9, 10, 15, 16), middle=(7, 8, 13, 14)),
    )


def _weights(count: int, far: Sequence[int], middle: Sequence[int]) -> tuple[float, ...]:
    """mmpose's: hands and feet 1.5, elbows and knees 1.2, all others 1."""
    return tuple(1.5 if n in far else 1.2 if n in middle else 1.0 for n in range(count))


_COCO = KeypointSet(
    name="coco",
    joints=_COCO_JOINTS,
    skeleton=_COCO_SKELETON,
    pairs=_COCO_PAIRS,
    upper=tuple(range(11)),
    sigmas=_COCO_SIGMAS,
    weights=_weights(17, far=(9, 10, 15, 16), middle=(7, 8, 13, 14)),
    categories=("person",),
)
_AIC = KeypointSet(
    name="aic",
    joints=_AIC_JOINTS,
    skeleton=_AIC_SKELETON,
    pairs=((3, 0), (4, 1), (5, 2), (9, 6), (10, 7), (11, 8)),
    upper=(0, 1, 2, 3, 4, 5, 12, 13),
    sigmas=_AIC_SIGMAS,
    weights=_weights(14, far=(2, 5, 8, 11), middle=(1, 4, 7, 10)),
    categories=("person",),
)
_MPII = KeypointSet(
    name="mpii",
    joints=_MPII_JOINTS,
    skeleton=_MPII_SKELETON,
    pairs=((5, 0), (4, 1), (3, 2), (15, 10), (14, 11), (13, 12)),
    upper=tuple(range(7, 16)),
    sigmas=_MPII_SIGMAS,
    weights=_weights(16, far=(0, 5, 10, 15), middle=(1, 4, 11, 14)),
    categories=("person",),
)
_SETS = (_COCO, _AIC, _MPII, _animals("ap10k"), _animals("apt36k"), _whole_body())
PUBLISHED: dict[str, KeypointSet] = {own.name: own for own in _SETS}
