"""An articulated body: joint angles within human limits -> joints and limbs in space.

Lengths are shares of the stature (after Drillis and Contini's segment lengths, rounded). The body
looks along +z, +y is up, +x is its left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Body", "Limb", "random_body"]

_LEFT, _RIGHT = 1.0, -1.0
# degrees: (least, largest) of each angle
_LIMITS = {
    "shoulder_flex": (-45, 170), "shoulder_out": (-8, 120), "shoulder_turn": (-60, 60),
    "elbow": (0, 145), "hip_flex": (-20, 115), "hip_out": (-8, 40), "hip_turn": (-25, 25),
    "knee": (0, 135),
}  # fmt: skip
# style -> angle -> (mean, deviation) in degrees; other angles are spread around 0 by 12
Style = Mapping[str, tuple[float, float]]
_ARMS: Mapping[str, Style] = {
    "hanging": {"shoulder_flex": (0, 15), "shoulder_out": (8, 8), "elbow": (15, 15)},
    "swinging": {"shoulder_flex": (10, 35), "shoulder_out": (8, 8), "elbow": (45, 30)},
    "reaching": {"shoulder_flex": (75, 35), "shoulder_out": (20, 25), "elbow": (35, 35)},
    "raised": {"shoulder_flex": (120, 35), "shoulder_out": (25, 25), "elbow": (45, 40)},
    "aside": {"shoulder_flex": (10, 25), "shoulder_out": (75, 25), "elbow": (40, 40)},
}
_LEGS: Mapping[str, Style] = {
    "standing": {"hip_flex": (3, 6), "hip_out": (4, 5), "knee": (5, 6)},
    "walking": {"hip_flex": (10, 28), "hip_out": (3, 5), "knee": (28, 25)},
    "sitting": {"hip_flex": (88, 12), "hip_out": (10, 10), "knee": (85, 20)},
    "crouching": {"hip_flex": (75, 25), "hip_out": (15, 10), "knee": (95, 25)},
    "astride": {"hip_flex": (20, 25), "hip_out": (25, 10), "knee": (25, 25)},
}


@dataclass(frozen=True)
class Limb:
    """A capsule between two points of the body, with a radius at each, and what it is made of."""

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    material: str


@dataclass(frozen=True)
class Body:
    """COCO's 17 joints (17, 3) in shares of the stature, the radius around each, and limbs."""

    joints: np.ndarray
    radii: np.ndarray
    limbs: tuple[Limb, ...]


def random_body(generator: np.random.Generator) -> Body:
    """A body in a pose of its own: bent back, turned head, arms and legs in some style."""
    stout = generator.uniform(0.85, 1.3)
    pelvis, chest, head = _trunk(generator)
    waist = pelvis @ (0, 0.11, 0)
    neck = waist + chest @ (0, 0.18, 0)
    middle = neck + chest @ (0, 0.045, 0.005) + head @ (0, 0.062, 0.012)
    points: dict[str, np.ndarray] = {
        "nose": middle + head @ (0, -0.008, 0.066),
        **_both("eye", lambda s: middle + head @ (s * 0.024, 0.014, 0.056)),
        **_both("ear", lambda s: middle + head @ (s * 0.060, 0.002, -0.006)),
        **_both("shoulder", lambda s: neck + chest @ (s * 0.108, -0.012, 0)),
        **_both("hip", lambda s: pelvis @ (s * 0.055, -0.01, 0)),
    }
    limbs = _torso(points, pelvis, waist, neck, chest, stout)
    limbs += _head(points, neck, middle, head)
    style = _choose(generator, _ARMS)
    for side, name in ((_LEFT, "left"), (_RIGHT, "right")):
        style = style if generator.random() < 0.6 else _choose(generator, _ARMS)
        limbs += _arm(points, name, side, chest, _angles(generator, _ARMS[style]), stout)
    style = _choose(generator, _LEGS)
    for side, name in ((_LEFT, "left"), (_RIGHT, "right")):
        limbs += _leg(points, name, side, pelvis, _angles(generator, _LEGS[style]), stout)
    names = ("nose", *(f"{s}_{n}" for n in _ORDER for s in ("left", "right")))
    return Body(
        joints=np.stack([points[name] for name in names]),
        radii=np.array([0.016, *(_RADII[n] * stout for n in _ORDER for _ in range(2))]),
        limbs=tuple(limbs),
    )


_ORDER = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_RADII = {
    "eye": 0.012, "ear": 0.016, "shoulder": 0.036, "elbow": 0.026, "wrist": 0.022, "hip": 0.06,
    "knee": 0.036, "ankle": 0.026,
}  # fmt: skip


def _trunk(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations of pelvis, chest and head."""
    bend = np.clip(generator.normal(8, 18), -20, 60)
    side, twist = generator.normal(0, 8), generator.normal(0, 12)
    half = _turn("x", bend / 2) @ _turn("z", side / 2) @ _turn("y", twist / 2)
    yaw, nod, tilt = (generator.normal(0, s) for s in (25, 12, 8))
    look = _turn("y", np.clip(yaw, -65, 65)) @ _turn("x", np.clip(nod - bend / 3, -35, 40))
    return half, half @ half, half @ half @ look @ _turn("z", np.clip(tilt, -25, 25))


def _torso(
    points: dict[str, np.ndarray],
    pelvis: np.ndarray,
    waist: np.ndarray,
    neck: np.ndarray,
    chest: np.ndarray,
    stout: float,
) -> list[Limb]:
    left, right = points["left_shoulder"], points["right_shoulder"]
    hips = points["left_hip"], points["right_hip"]
    low = chest @ (0, -0.055, 0.005) + neck
    limbs = [
        Limb(left, right, (0.040 * stout, 0.040 * stout), "shirt"),
        Limb(hips[0], hips[1], (0.062 * stout, 0.062 * stout), "trousers"),
        Limb(waist, low, (0.072 * stout, 0.082 * stout), "shirt"),
    ]
    for hip, shoulder in zip(hips, (left, right), strict=True):
        inner = 0.75 * shoulder + 0.25 * neck
        limbs.append(Limb(0.8 * hip + 0.2 * waist, inner, (0.055 * stout, 0.042 * stout), "shirt"))
    return limbs


def _head(
    points: dict[str, np.ndarray], neck: np.ndarray, middle: np.ndarray, head: np.ndarray
) -> list[Limb]:
    skull = Limb(
        middle + head @ (0, 0.016, 0), middle + head @ (0, -0.026, 0.012), (0.058, 0.045), "skin"
    )
    hair = Limb(
        middle + head @ (0, 0.030, -0.016),
        middle + head @ (0, -0.004, -0.026),
        (0.058, 0.054),
        "hair",
    )
    nose = Limb(points["nose"], middle + head @ (0, 0.012, 0.054), (0.0115, 0.006), "skin_light")
    mouth = [middle + head @ (x, -0.040, 0.050) for x in (-0.012, 0.012)]
    found = [
        Limb(neck, middle, (0.030, 0.028), "skin"), skull, hair, nose,
        Limb(mouth[0], mouth[1], (0.006, 0.006), "mouth"),
    ]  # fmt: skip
    for side in ("left", "right"):
        eye, ear = points[f"{side}_eye"], points[f"{side}_ear"]
        found.append(Limb(eye, eye, (0.0095, 0.0095), "eye"))
        found.append(Limb(ear, ear + head @ (0, 0.014, 0), (0.011, 0.012), "skin_light"))
    return found


def _arm(
    points: dict[str, np.ndarray],
    name: str,
    side: float,
    chest: np.ndarray,
    angles: dict[str, float],
    stout: float,
) -> list[Limb]:
    upper = chest @ _swing(angles, "shoulder", side)
    lower = upper @ _turn("x", -angles["elbow"])
    shoulder = points[f"{name}_shoulder"]
    elbow = points[f"{name}_elbow"] = shoulder + upper @ (0, -0.172, 0)
    wrist = points[f"{name}_wrist"] = elbow + lower @ (0, -0.148, 0)
    hand = wrist + lower @ (0, -0.045, 0)
    return [
        Limb(shoulder, elbow, (0.034 * stout, 0.025 * stout), "sleeve"),
        Limb(elbow, wrist, (0.025 * stout, 0.018 * stout), "forearm"),
        Limb(wrist, hand, (0.018, 0.021), "skin"),
    ]


def _leg(
    points: dict[str, np.ndarray],
    name: str,
    side: float,
    pelvis: np.ndarray,
    angles: dict[str, float],
    stout: float,
) -> list[Limb]:
    upper = pelvis @ _swing(angles, "hip", side)
    lower = upper @ _turn("x", angles["knee"])
    hip = points[f"{name}_hip"]
    knee = points[f"{name}_knee"] = hip + upper @ (0, -0.245, 0)
    ankle = points[f"{name}_ankle"] = knee + lower @ (0, -0.240, 0)
    heel, toe = (ankle + lower @ (0, -0.028, z) for z in (-0.012, 0.090))
    return [
        Limb(hip, knee, (0.056 * stout, 0.037 * stout), "trousers"),
        Limb(knee, ankle, (0.037 * stout, 0.024 * stout), "shin"),
        Limb(heel, toe, (0.024, 0.019), "shoe"),
    ]


def _swing(angles: dict[str, float], joint: str, side: float) -> np.ndarray:
    """Forward, outward, around the limb's own axis."""
    flex, out, turn = (angles[f"{joint}_{name}"] for name in ("flex", "out", "turn"))
    return _turn("x", -flex) @ _turn("z", side * out) @ _turn("y", side * turn)


def _angles(generator: np.random.Generator, style: Style) -> dict[str, float]:
    found = {}
    for name, (least, largest) in _LIMITS.items():
        mean, deviation = style.get(name, (0.0, 12.0))
        found[name] = float(np.clip(generator.normal(mean, deviation), least, largest))
    return found


def _both(name: str, place: Callable[[float], np.ndarray]) -> dict[str, np.ndarray]:
    return {f"left_{name}": place(_LEFT), f"right_{name}": place(_RIGHT)}


def _choose(generator: np.random.Generator, styles: Mapping[str, Style]) -> str:
    return list(styles)[int(generator.integers(len(styles)))]


def _turn(axis: str, degrees: float) -> np.ndarray:
    """The rotation (3, 3) around an axis."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix
