"""Pictures of articulated figures whose joints are known exactly."""

from __future__ import annotations

from typing import Literal

import numpy as np

from surform.data.solvers.figures_body import Limb, random_body
from surform.data.solvers.figures_canvas import Canvas, Capsule, Cloth
from surform.data.solvers.figures_scene import background, finished, put_in_front
from surform.data.solvers.pictures import Picture

__all__ = ["figures"]

BATCH = 16
# what the samples are: pictures, each made by itself, of persons with these joints
PICTURES = "coco"

_SEEN_LEAST = 0.25  # share of a figure that must be seen for its joints to be labelled
_SKINS = ((236, 198, 172), (210, 160, 125), (168, 115, 82), (112, 74, 52), (70, 48, 38))
_HAIRS = ((28, 22, 18), (70, 45, 28), (130, 90, 50), (200, 165, 95), (120, 120, 120))


def figures(
    generator: np.random.Generator,
    *,
    width: int = 320,
    height: int = 256,
    most: int = 3,
    hidden: float = 0.3,
    turn: float = 180.0,
    format: Literal["png", "jpg"] = "jpg",
) -> Picture:
    """Draw pictures of articulated figures with exact COCO keypoints.

    Bodies with joint angles within human limits, seen by cameras at random, in random clothes,
    before cluttered backgrounds. They hide each other and themselves; joints that are hidden are
    labelled as such, those outside the picture are not labelled.

    Args:
        width: of pictures in pixels.
        height: of pictures in pixels.
        most: figures in one picture, from 1 on.
        hidden: probability of something in front of the figures.
        turn: largest angle in degrees that figures are turned away from the camera, from 0 to 180.
        format: of the files.
    """
    if min(width, height) < 64:
        raise ValueError(f"width and height must be at least 64, got {width} and {height}")
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    if not 0 <= hidden <= 1:
        raise ValueError(f"hidden is {hidden}, but must be from 0 to 1")
    if not 0 <= turn <= 180:
        raise ValueError(f"turn is {turn}, but must be from 0 to 180 degrees")
    light = generator.normal(0, 1, 3) * (1, 0.6, 0.3) + (0, -0.8, -0.9)
    canvas = Canvas(
        pixels=background(generator, height, width),
        light=light / np.linalg.norm(light),
        ambient=float(generator.uniform(0.35, 0.7)),
    )
    camera = _Camera(generator, height, width)
    count = int(generator.integers(1, most + 1))
    seen = [_Figure(generator, camera, np.radians(turn)) for _ in range(count)]
    whole = [figure.draw(canvas, number) for number, figure in enumerate(seen)]
    if generator.random() < hidden:
        put_in_front(generator, canvas, min(figure.distance for figure in seen) * 0.8)
    annotations = [
        found
        for number, figure in enumerate(seen)
        if (found := figure.annotation(canvas, number, whole[number])) is not None
    ]
    return Picture(finished(generator, canvas), annotations)


class _Camera:
    """Focal length and middle in pixels, and the rotation of the world before it."""

    def __init__(self, generator: np.random.Generator, height: int, width: int) -> None:
        self.size = np.array([width, height], float)
        self.focal = generator.uniform(1.0, 2.2) * width
        down, roll = np.radians(generator.normal((8, 0), (14, 5)))
        cos, sin = np.cos(down), np.sin(down)
        tilt = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        cos, sin = np.cos(roll), np.sin(roll)
        self.rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ tilt

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) in metres before the camera -> (..., 2) pixels."""
        return self.size / 2 + self.focal * points[..., :2] / points[..., 2:]


class _Figure:
    """A body placed before the camera, with clothes."""

    def __init__(self, generator: np.random.Generator, camera: _Camera, turn: float) -> None:
        self.camera, self.body = camera, random_body(generator)
        self.stature = generator.uniform(1.5, 1.95) * (0.65 if generator.random() < 0.15 else 1.0)
        tall = generator.uniform(0.4, 1.05) * camera.size[1]  # in pixels, if it stood upright
        self.distance = max(self.stature * camera.focal / tall, 1.4)
        middle = (generator.uniform((0.12, 0.4), (0.88, 0.6)) - 0.5) * camera.size
        self.place = np.array([*(middle / camera.focal * self.distance), self.distance])
        self.facing = self._facing(generator, turn)
        self.origin = self.body.joints[5:].mean(0)  # of the joints below the head
        self.clothes = _clothes(generator)

    def _facing(self, generator: np.random.Generator, turn: float) -> np.ndarray:
        """The body's rotation in the world: mostly upright, turned by half of `turn` or all."""
        yaw = generator.uniform(-turn, turn) * (0.5 if generator.random() < 0.5 else 1.0)
        lean = np.radians(generator.normal(0, 6 if generator.random() < 0.9 else 60))
        cos, sin = np.cos(yaw), np.sin(yaw)
        turned = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        cos, sin = np.cos(lean), np.sin(lean)
        return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ turned

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the body in metres before the camera: x right, y down, z away."""
        world = (points - self.origin) @ self.facing.T * self.stature * (1, -1, -1)
        return world @ self.camera.rotation.T + self.place

    def draw(self, canvas: Canvas, number: int) -> np.ndarray:
        """Draw all limbs, and say what the figure covers, whatever hides it: (h, w) bool."""
        alone = Canvas(canvas.pixels.copy(), canvas.light, canvas.ambient)
        limbs = sorted(self.body.limbs, key=lambda limb: -self._depth(limb))
        for limb in limbs:
            capsule = self._capsule(limb)
            alone.draw(capsule, number)
        nearer = alone.depth < canvas.depth
        canvas.pixels = np.where(nearer[..., None], alone.pixels, canvas.pixels)
        canvas.depth = np.where(nearer, alone.depth, canvas.depth)
        canvas.owner = np.where(nearer, number, canvas.owner)
        return alone.owner == number

    def annotation(
        self, canvas: Canvas, number: int, whole: np.ndarray
    ) -> dict[str, object] | None:
        """COCO's fields; None for a figure of which nothing is seen."""
        own = canvas.owner == number
        if own.sum() < 12:
            return None
        rows, columns = (np.flatnonzero(own.any(axis)) for axis in (1, 0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        points = self.seen(self.body.joints)
        places, flags = self.camera.project(points), np.zeros(len(points), int)
        pixel = np.round(places).astype(int)
        inside = ((pixel >= 0) & (pixel < self.camera.size)).all(1)
        if own.sum() >= _SEEN_LEAST * whole.sum():
            for joint in np.flatnonzero(inside):
                front = points[joint, 2] - 1.3 * self.body.radii[joint] * self.stature
                at = pixel[joint, 1], pixel[joint, 0]
                flags[joint] = 2 if own[at] and canvas.depth[at] >= front else 1
        places = np.where(flags[:, None] > 0, places, 0)
        return {
            "bbox": [int(value) for value in box],
            "area": int(own.sum()),
            "iscrowd": 0,
            "num_keypoints": int((flags > 0).sum()),
            "keypoints": [
                value
                for (x, y), flag in zip(places.round(2).tolist(), flags.tolist(), strict=True)
                for value in (x, y, flag)
            ],
        }

    def _depth(self, limb: Limb) -> float:
        return float(self.seen((limb.start + limb.end) / 2)[2])

    def _capsule(self, limb: Limb) -> Capsule:
        ends = self.seen(np.stack((limb.start, limb.end)))
        places = self.camera.project(ends)
        thick = [radius * self.stature for radius in limb.radii]
        radii = [self.camera.focal * t / z for t, z in zip(thick, ends[:, 2], strict=True)]
        return Capsule(
            start=places[0],
            end=places[1],
            radii=(max(radii[0], 0.4), max(radii[1], 0.4)),
            depths=(float(ends[0, 2]), float(ends[1, 2])),
            thickness=(thick[0], thick[1]),
            cloth=self.clothes[limb.material],
        )


def _clothes(generator: np.random.Generator) -> dict[str, Cloth]:
    """What every material of a figure looks like."""
    tone = np.array(_SKINS[int(generator.integers(len(_SKINS)))], np.float32)
    tone = np.clip(tone * generator.uniform(0.9, 1.1), 0, 255)
    skin, light = Cloth(tone), Cloth(np.clip(tone * 1.14, 0, 255))
    hair = np.array(_HAIRS[int(generator.integers(len(_HAIRS)))], np.float32)
    shirt, trousers = _cloth(generator), _cloth(generator)
    long_sleeves, long_legs = generator.random(2) < (0.5, 0.7)
    return {
        "skin": skin,
        "skin_light": light,
        "hair": Cloth(hair * generator.uniform(0.8, 1.2)),
        "eye": Cloth(np.array([25, 25, 30], np.float32)),
        "mouth": Cloth(tone * np.array([0.85, 0.5, 0.5], np.float32)),
        "shirt": shirt,
        "sleeve": shirt if generator.random() < 0.85 else skin,
        "forearm": shirt if long_sleeves else skin,
        "trousers": trousers,
        "shin": trousers if long_legs else skin,
        "shoe": Cloth(generator.uniform(10, 235, 3).astype(np.float32)),
    }


def _cloth(generator: np.random.Generator) -> Cloth:
    color = generator.uniform(15, 245, 3).astype(np.float32)
    if generator.random() < 0.7:
        return Cloth(color)
    other = generator.uniform(15, 245, 3).astype(np.float32)
    return Cloth(color, other, float(generator.uniform(3, 10)), bool(generator.random() < 0.4))
