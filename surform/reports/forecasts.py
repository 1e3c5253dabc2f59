"""Pictures of forecasts: what was known, what came, what was forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from surform.reports.look import COLORS, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forecast_panels"]


def forecast_panels(
    forecast: np.ndarray,
    history: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    names: Sequence[str],
    units: Sequence[str] = (),
    titles: Sequence[str] = (),
    step: str = "",
    band: tuple[np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """A grid of panels, one row per variate and one column per window.

    Args:
        forecast: `(W, H, V)`, truth likewise.
        history: `(W, L, V)`; its last 2 H steps are drawn.
        names, units: of the variates; "1" is not written.
        titles: above each column.
        step: time between two rows, for the axis: "1h".
        band: lower and upper bounds of the forecast, each `(W, H, V)`.
    """
    from matplotlib.figure import Figure

    windows, horizon, rows = forecast.shape
    before = np.arange(-min(history.shape[1], 2 * horizon) + 1, 1)
    after = np.arange(1, horizon + 1)
    with look():
        size = (9.6, 0.7 + 1.75 * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, windows, squeeze=False, sharex="col")
        for row in range(rows):
            for window, axes in enumerate(grid[row]):
                past = history[window, -len(before) :, row]
                axes.plot(before, past, color=COLORS["truth"], lw=1.1, label="known")
                if truth is not None:
                    # joined to the last known value, so that the eye follows the series
                    axes.plot(
                        [0, *after],
                        [past[-1], *truth[window, :, row]],
                        color=COLORS["truth"],
                        lw=1.1,
                        alpha=0.45,
                        label="what came",
                    )
                if band is not None:
                    low, high = (bound[window, :, row] for bound in band)
                    axes.fill_between(
                        after, low, high, color=COLORS["prediction"], alpha=0.18, lw=0
                    )
                axes.plot(
                    after, forecast[window, :, row], color=COLORS["prediction"], label="forecast"
                )
                axes.axvline(0.5, color="#c3cad4", lw=0.8)
                if row == 0 and titles:
                    axes.set_title(titles[window])
                if row == rows - 1:
                    axes.set_xlabel(f"steps of {step}" if step else "steps")
            unit = units[row] if units else "1"
            grid[row][0].set_ylabel(names[row] + (f" [{unit}]" if unit not in ("", "1") else ""))
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
    return figure
