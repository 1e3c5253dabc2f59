"""Fields side by side: the prediction, the truth and what parts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from surform.reports.look import COLORS, bare, limits, look, map_name
from surform.reports.plots import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["fields", "moment", "plane"]

Frames = Sequence[xr.DataArray | None]
Scale = tuple[float, float]


def fields(
    prediction: xr.DataArray, truth: xr.DataArray | None = None, *, times: int | Sequence[int] = 5
) -> Figure:
    """Prediction, truth and their difference over time, with one color scale.

    Args:
        prediction: dims (*grid) or ("time", *grid) of one to three axes; a 3-D field is shown on
            the middle plane of its last axis, a 1-D one as curves.
        truth: same dims; may end earlier, where its pictures are left out.
        times: how many frames, spread evenly, or their indices.
    """
    chosen = _chosen(prediction, times)
    shown = [_frame(prediction, index) for index in chosen]
    known: Frames = [_known(truth, index) for index in chosen]
    draw = _draw_lines if shown[0].ndim == 1 else _draw_images
    with look():
        return draw(shown, known, [moment(prediction, index) for index in chosen])


def plane(array: xr.DataArray) -> xr.DataArray:
    """The middle plane of a field of three axes; fewer axes pass through."""
    axes = [dim for dim in array.dims if dim != "time"]
    if len(axes) == 3:
        array = array.isel({axes[-1]: array.sizes[axes[-1]] // 2})
    if not 1 <= len(axes) <= 3:
        raise ValueError(f"a field with 1 to 3 axes can be drawn, not one with dims {array.dims}")
    return array


def moment(array: xr.DataArray, index: int | None) -> str:
    """ "time 1.25 s" of one frame, "" of a steady field."""
    if index is None:
        return ""
    if "time" not in array.coords:
        return f"frame {index}"
    units = str(array["time"].attrs.get("units", "1"))
    return f"time {float(array['time'][index]):.4g}" + (f" {units}" if units != "1" else "")


def _chosen(prediction: xr.DataArray, times: int | Sequence[int]) -> list[int | None]:
    if "time" not in prediction.dims:
        return [None]
    if not isinstance(times, int):
        return list(times)
    last = prediction.sizes["time"] - 1
    return sorted({round(i) for i in np.linspace(0, last, max(times, 1))})  # type: ignore[arg-type]


def _frame(array: xr.DataArray, index: int | None) -> xr.DataArray:
    return plane(array if index is None else array.isel(time=index)).load()


def _known(truth: xr.DataArray | None, index: int | None) -> xr.DataArray | None:
    if truth is None or (index is not None and index >= truth.sizes["time"]):
        return None
    return _frame(truth, index)


def _draw_images(shown: Sequence[xr.DataArray], known: Frames, titles: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    scale = limits(*(f.values for f in [*shown, *known] if f is not None))
    rows: list[tuple[str, Frames, Scale]] = [("prediction", shown, scale)]
    if any(frame is not None for frame in known):
        pairs = zip(shown, known, strict=True)
        off = [None if k is None else s.copy(data=s.values - k.values) for s, k in pairs]
        symmetric = scale[0] == -scale[1]
        # A field of one sign has no color for negative differences: they get a scale of their own.
        off_scale = scale if symmetric else limits(*(f.values for f in off if f is not None))
        rows += [("truth", known, scale), ("difference", off, off_scale)]
    figure = Figure(figsize=_size(shown, len(rows)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)  # type: ignore[union-attr]
    panels = figure.subplots(len(rows), len(shown), squeeze=False)
    images: dict[Scale, Any] = {}
    covered: dict[Scale, list[Axes]] = {}
    for line, (name, frames, limit) in zip(panels, rows, strict=True):
        line[0].set_ylabel(name)
        for axes, frame in zip(line, frames, strict=True):
            bare(axes)
            if frame is not None:
                images[limit] = _image(axes, frame, limit)
            covered.setdefault(limit, []).append(axes)
    if len(rows) > 1:
        for axes, frame, true in zip(panels[-1], shown, known, strict=True):
            axes.set_xlabel(_apart(frame, true), color="#5b6472")
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, color="#5b6472")
    for limit, image in images.items():
        shrink = 0.7 if len(covered[limit]) > len(shown) else 0.9
        figure.colorbar(image, ax=covered[limit], shrink=shrink, aspect=22, label=label(shown[0]))
    return figure


def _apart(frame: xr.DataArray, true: xr.DataArray | None) -> str:
    """The size of a difference, which one color scale may leave too pale to see."""
    if true is None:
        return ""
    error = float(np.linalg.norm(frame.values - true.values))
    size = float(np.linalg.norm(true.values))
    return f"relative L2 {error / size:.2g}" if size > 0 and math.isfinite(error / size) else ""


def _size(shown: Sequence[xr.DataArray], rows: int) -> tuple[float, float]:
    width = 1.8 if len(shown) > 1 else 3.2
    aspect = shown[0].shape[1] / shown[0].shape[0]
    return width * len(shown) + 1.0, width * min(max(aspect, 0.3), 2.0) * rows + 0.3


def _image(axes: Axes, frame: xr.DataArray, scale: Scale) -> Any:
    """x to the right, y upwards, as on paper."""
    return axes.imshow(
        frame.values.T,
        origin="lower",
        vmin=scale[0],
        vmax=scale[1],
        cmap=map_name(*scale),
        interpolation="bilinear",
        aspect="auto" if max(frame.shape) > 3 * min(frame.shape) else "equal",
    )


def _draw_lines(shown: Sequence[xr.DataArray], known: Frames, titles: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(len(shown), 3)
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(3.0 * columns + 0.6, 2.3 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, frame, true, title in zip(panels, shown, known, titles, strict=False):
        x = frame[frame.dims[0]]
        if true is not None:
            axes.plot(x, true, color=COLORS["truth"], linewidth=1.2, label="truth")
        style = "--" if true is not None else "-"
        axes.plot(x, frame, color=COLORS["prediction"], linestyle=style, label="prediction")
        axes.set(title=title, xlabel=label(x))
        axes.label_outer()
    panels[0].set_ylabel(label(shown[0]))
    if known[0] is not None:
        panels[0].legend()
    return figure
