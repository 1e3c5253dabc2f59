"""Labelled arrays and line plots; matplotlib is imported when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from surform.reports.look import color, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "label", "labelled"]

Curve = tuple[ArrayLike, ArrayLike]


def labelled(
    values: ArrayLike, name: str, axes: Mapping[str, ArrayLike], units: str = "1"
) -> xr.DataArray:
    """A field with its name, units and coordinates; `axes` in the order of the dimensions."""
    return xr.DataArray(np.asarray(values), dict(axes), tuple(axes), name, {"units": units})


def label(array: xr.DataArray) -> str:
    """ "vorticity [1/s]"; dimensionless quantities carry no bracket."""
    units = str(array.attrs.get("units", "1"))
    name = str(array.attrs.get("long_name", array.name if array.name is not None else ""))
    return name.replace("_", " ") + (f" [{units}]" if units not in ("", "1") else "")


def curves(
    lines: Mapping[str, Curve],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    logx: bool = False,
    logy: bool = False,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    levels: Mapping[str, float] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    size: tuple[float, float] = (9.6, 3.4),
) -> Figure:
    """Lines by name, {name: (x, y)}; names that start with a known role get that role's color.

    Args:
        bands: {name: (low, high)} shaded behind the line of that name.
        levels: {name: y} dotted horizontal lines.
        styles: {name: matplotlib's words for the line of that name}, such as its color.
    """
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for name, (x, y) in lines.items():
            # A line of one point is invisible without a marker.
            mark = "o" if len(np.atleast_1d(np.asarray(x))) == 1 else ""
            style = {"marker": mark, "color": color(name), **(styles or {}).get(name, {})}
            (line,) = axes.plot(x, y, label=name, **style)
            if bands and name in bands:
                axes.fill_between(x, *bands[name], color=line.get_color(), alpha=0.15, linewidth=0)  # type: ignore[arg-type]
        for name, y in (levels or {}).items():
            axes.axhline(y, color="#8a8f98", linestyle=":", linewidth=1.1, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axes.set_xscale("log" if logx else "linear")
        axes.set_yscale("log" if logy else "linear")
        if len(lines) > 1 or levels:
            axes.legend()
    return figure
