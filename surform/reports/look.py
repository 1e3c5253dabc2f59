"""How figures look: colors by role, quiet axes, and which color map suits which field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLORS", "CYCLE", "bare", "color", "limits", "look", "map_name"]

# One role, one color, in every figure of every report.
COLORS = {
    "truth": "#1d2430",
    "prediction": "#2f5fb3",
    "forecast": "#2f5fb3",
    "persistence": "#b08a3c",
    "error": "#b3372f",
    "training": "#8fa6cc",
    "validation": "#2f5fb3",
}
# Of curves without a role, in their order.
CYCLE = ["#2f5fb3", "#b3372f", "#1c7f4f", "#b08a3c", "#6b4fa0", "#3a8f9c", "#8a8f98"]

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": "#9aa4b2",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e9ee",
    "grid.linewidth": 0.7,
    "xtick.color": "#5b6472",
    "ytick.color": "#5b6472",
    "lines.linewidth": 1.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@contextmanager
def look() -> Iterator[None]:
    """Draw inside this context; the user's own matplotlib settings are untouched afterwards."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=CYCLE)}):
        yield


def color(label: str) -> str | None:
    """The color of a curve that plays a known role; None leaves it to the cycle."""
    return next((c for role, c in COLORS.items() if label.lower().startswith(role)), None)


def limits(*fields: np.ndarray | None) -> tuple[float, float]:
    """Shared color limits: the finite range, symmetric about zero when both signs occur."""
    values = [np.asarray(f)[np.isfinite(f)] for f in fields if f is not None]
    values = [v for v in values if v.size]
    if not values:
        return 0.0, 1.0
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    if not high > low:
        pad = max(abs(high), 1.0) * 0.5
        low, high = low - pad, high + pad
    return low, high


def map_name(low: float, high: float) -> str:
    """A diverging map for limits about zero, a sequential one otherwise."""
    return "RdBu_r" if low == -high else "viridis"


def bare(axes: Axes) -> None:
    """Leave only the picture: no ticks, no grid, no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
