"""Quantities at scattered points: the truth, the prediction and what parts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from surform.reports.look import COLORS, bare, limits, look, map_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["at_points"]

_SLAB = 0.05  # of a solid's third extent, to each side of its middle


def at_points(
    points: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    label: str,
    axes: Sequence[str],
) -> Figure:
    """Truth, prediction and difference at the points of one sample.

    Args:
        points: `(N, d)`, d of 1 to 3; of a solid the points of a slab about its middle are drawn.
        prediction: `(N,)`.
        truth: `(N,)`.
        label: what is drawn, with its unit.
        axes: names of the coordinates.
    """
    with look():
        if points.shape[1] == 1:
            return _lines(points[:, 0], prediction, truth, label, axes[0])
        plane, shown, note = _plane(points, axes)
        values = {"truth": truth[shown], "prediction": prediction[shown]}
        return _panels(plane, values, label, note)


def _lines(
    x: np.ndarray, prediction: np.ndarray, truth: np.ndarray, label: str, axis: str
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(x, kind="stable")
    axes.plot(x[order], truth[order], color=COLORS["truth"], linewidth=1.2, label="truth")
    axes.plot(x[order], prediction[order], "--", color=COLORS["prediction"], label="prediction")
    axes.set(xlabel=axis, ylabel=label)
    axes.legend()
    return figure


def _plane(points: np.ndarray, axes: Sequence[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Points in two coordinates, which of them, and what the picture says of that."""
    if points.shape[1] == 2:
        return points, np.ones(len(points), bool), ""
    extent = np.ptp(points, axis=0)
    across = int(np.argmin(extent))
    middle = points[:, across].min() + extent[across] / 2
    away = np.abs(points[:, across] - middle)
    slab = away <= _SLAB * extent[across]
    if slab.sum() < 16:  # a coarse mesh may have no points there
        slab = away <= np.partition(away, min(15, len(away) - 1))[min(15, len(away) - 1)]
    rest = [k for k in range(3) if k != across]
    return points[slab][:, rest], slab, f"near {axes[across]} = {middle:.3g}"


def _panels(points: np.ndarray, values: dict[str, np.ndarray], label: str, note: str) -> Figure:
    from matplotlib.figure import Figure

    error = values["prediction"] - values["truth"]
    scales = [limits(*values.values())] * 2 + [limits(error)]
    extent = np.ptp(points, axis=0)
    aspect = min(max(extent[1] / extent[0], 0.35), 1.6) if extent.min() > 0 else 1.0
    figure = Figure(figsize=(9.6, 2.6 * aspect + 0.7), layout="constrained")
    panels = figure.subplots(1, 3)
    triangles = _triangles(points)
    fields = {**values, "prediction - truth": error}
    for axes, (title, field), scale in zip(panels, fields.items(), scales, strict=True):
        image = _draw(axes, points, triangles, field, scale)
        axes.set_title(title, color="#5b6472")
        axes.set_aspect("equal")
        bare(axes)
        if title != "truth":
            bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=22)
            bar.set_label(label if title == "prediction" else "difference")
    if note:
        figure.supxlabel(note, fontsize=9, color="#5b6472")
    return figure


def _draw(
    axes: Axes, points: np.ndarray, triangles: Any, field: np.ndarray, scale: tuple[float, float]
) -> Any:
    options: dict[str, Any] = {"vmin": scale[0], "vmax": scale[1], "cmap": map_name(*scale)}
    if triangles is not None:
        return axes.tripcolor(triangles, field, shading="gouraud", **options)
    size = min(max(4000 / len(field), 1.0), 30.0)
    return axes.scatter(points[:, 0], points[:, 1], c=field, s=size, linewidths=0, **options)


def _triangles(points: np.ndarray) -> Any:
    """Triangles between neighbours; None where points lie on a line.

    Holes of the domain would be filled: triangles with an edge that is long beside those around
    it are left out.
    """
    from matplotlib.tri import Triangulation

    try:
        found = Triangulation(points[:, 0], points[:, 1])
    except (RuntimeError, ValueError):
        return None
    corners, edges = found.triangles, found.edges
    spacing = _spacing(edges, np.linalg.norm(np.diff(points[edges], axis=1)[:, 0], axis=-1))
    sides = np.linalg.norm(points[corners] - points[np.roll(corners, 1, axis=1)], axis=-1)
    found.set_mask(sides.max(1) > 3.5 * spacing[corners].max(1))
    return found


def _spacing(edges: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The mean of the three shortest edges at each node; those across a hole are long."""
    nodes, lengths = edges.T.ravel(), np.tile(lengths, 2)
    order = np.lexsort((lengths, nodes))
    nodes, lengths = nodes[order], lengths[order]
    starts = np.searchsorted(nodes, np.arange(nodes.max() + 1))
    shortest = np.arange(len(nodes)) - starts[nodes] < 3
    total = np.bincount(nodes[shortest], lengths[shortest])
    return total / np.maximum(np.bincount(nodes[shortest]), 1)
