"""Small multiples: the same few curves in many panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from surform.reports.look import color, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panel", "multiples"]


@dataclass(frozen=True)
class Panel:
    """Lines by name, {name: (x, y)}; names that start with a known role get that role's color."""

    title: str
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]]
    xlabel: str
    ylabel: str = ""
    logx: bool = False
    logy: bool = False


def multiples(panels: Sequence[Panel], columns: int = 3) -> Figure:
    """All panels in one figure, with one legend."""
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    with look():
        figure = Figure(figsize=(9.6, (2.5 if columns > 1 else 3.2) * rows + 0.4))
        figure.set_layout_engine("constrained", h_pad=0.09)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        named = {}
        for axes, panel in zip(grid, panels, strict=False):
            for name, (x, y) in panel.lines.items():
                (named[name],) = axes.plot(x, y, color=color(name))
            axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
            axes.set_yscale("log" if panel.logy else "linear")
            if panel.logx:
                _log_x(axes)
        if len(named) > 1:
            figure.legend(named.values(), named, loc="outside upper right", ncols=len(named))
    return figure


def _log_x(axes: Axes) -> None:
    """A logarithmic axis with few round numbers, that fit under a small panel."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
