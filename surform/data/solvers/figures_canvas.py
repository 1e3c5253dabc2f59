"""A picture with the depth of every pixel: capsules are drawn into it, lit from one side."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Canvas", "Capsule", "Cloth"]


@dataclass(frozen=True)
class Cloth:
    """A colour (3,) from 0 to 255, perhaps striped with another, `stripes` to the capsule."""

    color: np.ndarray
    other: np.ndarray | None = None
    stripes: float = 0.0
    across: bool = False


@dataclass(frozen=True)
class Capsule:
    """Ends (2,) in pixels, their radii in pixels, depths and the thickness there in metres."""

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    depths: tuple[float, float]
    thickness: tuple[float, float]
    cloth: Cloth


@dataclass
class Canvas:
    """Pixels (h, w, 3) float32 from 0 to 255, depth (h, w) in metres, and whose each pixel is.

    Args:
        light: unit vector (3,) towards the light; x right, y down, z away from the camera.
        ambient: share of the light that comes from everywhere.
    """

    pixels: np.ndarray
    light: np.ndarray
    ambient: float
    depth: np.ndarray = field(init=False)
    owner: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.depth = np.full(self.pixels.shape[:2], np.inf, np.float32)
        self.owner = np.full(self.pixels.shape[:2], -1, np.int64)

    def draw(self, capsule: Capsule, owner: int) -> None:
        """Paint what of a capsule is nearer than what is there; edges are blended."""
        area = self._area(capsule)
        if area is None:
            return
        rows, columns = area
        y, x = (np.arange(s.start, s.stop, dtype=np.float32) for s in (rows, columns))
        along = capsule.end - capsule.start
        length = max(float(along @ along), 1e-6)
        dx, dy = x - np.float32(capsule.start[0]), (y - np.float32(capsule.start[1]))[:, None]
        part = np.clip((dx * along[0] + dy * along[1]) / length, 0, 1).astype(np.float32)
        radius = capsule.radii[0] + (capsule.radii[1] - capsule.radii[0]) * part
        ox, oy = dx - part * along[0], dy - part * along[1]
        distance = np.sqrt(ox * ox + oy * oy)
        cover = np.clip(radius - distance + 0.5, 0, 1)
        bulge = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
        depth = capsule.depths[0] + (capsule.depths[1] - capsule.depths[0]) * part
        thick = capsule.thickness[0] + (capsule.thickness[1] - capsule.thickness[0]) * part
        depth = (depth - thick * bulge).astype(np.float32)
        nearer = depth < self.depth[area]
        share = np.where(nearer, cover, 0)[..., None].astype(np.float32)
        towards = (ox * self.light[0] + oy * self.light[1]) / radius - bulge * self.light[2]
        shade = self.ambient + (1 - self.ambient) * np.clip(towards, 0, 1)
        color = self._color(capsule.cloth, part, ox / radius) * shade[..., None]
        self.pixels[area] += share * (color - self.pixels[area])
        taken = nearer & (cover > 0.5)
        self.depth[area] = np.where(taken, depth, self.depth[area])
        self.owner[area] = np.where(taken, owner, self.owner[area])

    def _area(self, capsule: Capsule) -> tuple[slice, slice] | None:
        ends, most = np.stack((capsule.start, capsule.end)), max(capsule.radii) + 1
        low = np.floor(ends.min(0) - most).astype(int).clip(0)
        high = np.ceil(ends.max(0) + most).astype(int) + 1
        high = np.minimum(high, self.pixels.shape[1::-1])
        if (high <= low).any():
            return None
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _color(self, cloth: Cloth, part: np.ndarray, across: np.ndarray) -> np.ndarray:
        if cloth.other is None:
            return np.broadcast_to(cloth.color, (*part.shape, 3)).astype(np.float32)
        phase = across / 2 if cloth.across else part
        second = (np.floor(phase * cloth.stripes).astype(int) % 2)[..., None]
        return np.where(second, cloth.other, cloth.color).astype(np.float32)
