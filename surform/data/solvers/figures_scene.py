"""Backgrounds and things in front: gradients, boxes, poles, noise."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from surform.data.solvers.figures_canvas import Canvas, Capsule, Cloth

__all__ = ["background", "finished", "put_in_front"]


def background(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) float32: a wall and a floor, clutter in front of it, and texture."""
    wall, floor = _color(generator, 60, 225), _color(generator, 40, 200)
    picture = Image.new("RGB", (width, height), _ints(wall))
    draw = ImageDraw.Draw(picture)
    horizon = int(height * generator.uniform(0.35, 0.9))
    draw.rectangle((0, horizon, width, height), fill=_ints(floor))
    for _ in range(int(generator.integers(4, 22))):
        _clutter(generator, draw, height, width)
    blur = generator.uniform(0, 2.5)
    if blur > 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    values = np.asarray(picture, np.float32).copy()
    left, right = generator.uniform(0.75, 1.2, 2).tolist()
    ramp = np.linspace(left, right, width)
    return values * ramp[None, :, None].astype(np.float32) + _texture(generator, height, width)


def put_in_front(generator: np.random.Generator, canvas: Canvas, nearest: float) -> None:
    """A pole or a box that hides what lies behind it; it belongs to nobody."""
    height, width = canvas.depth.shape
    x, y = generator.uniform(0.05, 0.95) * width, generator.uniform(0.3, 1.0) * height
    cloth = Cloth(_color(generator, 30, 230))
    if generator.random() < 0.5:
        radius = generator.uniform(0.008, 0.04) * width
        top = np.array([x, -radius - 1]), np.array([x + generator.normal(0, 12), height + 9.0])
        depths, thick = (nearest * 0.8, nearest * 0.8), (0.05, 0.05)
        canvas.draw(Capsule(*top, (radius, radius), depths, thick, cloth), -1)
        return
    across, down = generator.uniform(0.06, 0.3) * width, generator.uniform(0.08, 0.35) * height
    area = (slice(max(0, int(y)), int(y + down) + 1), slice(max(0, int(x)), int(x + across) + 1))
    shade = np.linspace(1.05, 0.8, canvas.pixels[area].shape[0])[:, None, None]
    canvas.pixels[area] = cloth.color * shade.astype(np.float32)
    canvas.depth[area], canvas.owner[area] = nearest * 0.8, -1


def finished(generator: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """The picture as uint8: exposure, a camera's blur and noise."""
    pixels = canvas.pixels * generator.uniform(0.75, 1.2) * generator.uniform(0.93, 1.07, 3)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if generator.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(generator.uniform(0.3, 0.9)))
    noise = generator.standard_normal(pixels.shape, np.float32) * np.float32(
        generator.uniform(0, 6)
    )
    return np.clip(np.asarray(picture, np.float32) + noise, 0, 255).astype(np.uint8)


def _clutter(
    generator: np.random.Generator, draw: ImageDraw.ImageDraw, height: int, width: int
) -> None:
    x, y = generator.uniform(-0.1, 1.0) * width, generator.uniform(-0.1, 1.0) * height
    across, down = generator.uniform(0.03, 0.35, 2) * (width, height)
    fill = _ints(_color(generator, 15, 245))
    kind = int(generator.integers(4))
    if kind == 0:
        draw.rectangle((x, y, x + across, y + down), fill=fill)
    elif kind == 1:
        draw.ellipse((x, y, x + across, y + down), fill=fill)
    elif kind == 2:
        points = [(x + dx, y + dy) for dx, dy in generator.uniform(-60, 60, (4, 2))]
        draw.polygon(points, fill=fill)
    else:  # like a limb
        ends = [(x, y), (x + generator.normal(0, 60), y + generator.normal(0, 60))]
        draw.line(ends, fill=fill, width=int(generator.integers(2, 16)))


def _texture(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of some coarseness, the same in all channels."""
    step = int(generator.integers(1, 12))
    size = (-(-height // step), -(-width // step))
    coarse = generator.standard_normal(size).astype(np.float32) * generator.uniform(0, 12)
    return np.repeat(np.repeat(coarse, step, 0), step, 1)[:height, :width, None]


def _color(generator: np.random.Generator, least: int, largest: int) -> np.ndarray:
    return generator.uniform(least, largest, 3).astype(np.float32)


def _ints(color: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in color)
    return red, green, blue
