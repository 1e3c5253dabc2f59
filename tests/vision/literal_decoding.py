"""Heatmaps to joints, one map and one pixel at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["literal_blur", "literal_decode"]

Array = NDArray[np.float64]


def literal_decode(maps: Array, method: str, kernel: int = 11) -> tuple[Array, Array]:
    """(xy, score) of maps (K, H, W) of one person."""
    xy, scores = [], []
    for heatmap in maps:
        if method == "megvii":
            heatmap = _rescaled(heatmap, kernel)
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
        score = heatmap[y, x]
        at = np.array([x, y], dtype=float) if score > 0 else np.array([-1.0, -1.0])
        if score > 0:
            at += _step(heatmap, int(x), int(y), method, kernel)
        xy.append(at)
        scores.append(score / 255 + 0.5 if method == "megvii" else score)
    return np.array(xy), np.array(scores)


def literal_blur(heatmap: Array, kernel: int, border: str) -> Array:
    """A Gaussian blur, pixel by pixel."""
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    half = kernel // 2
    line = np.array([math.exp(-(i**2) / (2 * sigma**2)) for i in range(-half, half + 1)])
    line /= line.sum()
    mode = {"mirror": "reflect", "zero": "constant"}[border]
    padded = np.pad(heatmap, half, mode=mode)  # type: ignore[call-overload]
    out = np.zeros_like(heatmap)
    for (y, x), _ in np.ndenumerate(heatmap):
        out[y, x] = (padded[y : y + kernel, x : x + kernel] * np.outer(line, line)).sum()
    return out


def _rescaled(heatmap: Array, kernel: int) -> Array:
    blurred = literal_blur(heatmap, kernel, "zero")
    return blurred * heatmap.max() / blurred.max()


def _step(heatmap: Array, x: int, y: int, method: str, kernel: int) -> Array:
    height, width = heatmap.shape
    if method in ("default", "megvii"):
        if not (1 < x < width - 1 and 1 < y < height - 1):
            return np.zeros(2)
        dx = heatmap[y, x + 1] - heatmap[y, x - 1]
        dy = heatmap[y + 1, x] - heatmap[y - 1, x]
        more = 0.5 if method == "megvii" else 0.0
        return 0.25 * np.sign([dx, dy]) + more
    if method == "dark":
        if not (1 < x < width - 2 and 1 < y < height - 2):
            return np.zeros(2)
        logs = np.log(np.maximum(_rescaled(heatmap, kernel), 1e-10))
        return _newton(logs, x, y, 2, 0.0)
    if method == "udp":
        logs = np.log(np.clip(literal_blur(heatmap, kernel, "mirror"), 0.001, 50))
        return _newton(np.pad(logs, 1, mode="edge"), x + 1, y + 1, 1, np.finfo(np.float32).eps)
    return np.zeros(2)


def _newton(f: Array, x: int, y: int, s: int, more: float) -> Array:
    """A Newton step; s: distance of the second differences."""
    gradient = np.array([f[y, x + 1] - f[y, x - 1], f[y + 1, x] - f[y - 1, x]]) / 2
    dxx = (f[y, x + s] - 2 * f[y, x] + f[y, x - s]) / s**2
    dyy = (f[y + s, x] - 2 * f[y, x] + f[y - s, x]) / s**2
    if s == 2:
        dxy = (f[y + 1, x + 1] - f[y - 1, x + 1] - f[y + 1, x - 1] + f[y - 1, x - 1]) / 4
    else:
        around = f[y, x + 1] + f[y + 1, x] + f[y, x - 1] + f[y - 1, x]
        dxy = (f[y + 1, x + 1] + f[y - 1, x - 1] - around + 2 * f[y, x]) / 2
    hessian = np.array([[dxx, dxy], [dxy, dyy]]) + more * np.eye(2)
    if np.linalg.det(hessian) == 0:
        return np.zeros(2)
    return -np.linalg.solve(hessian, gradient)
