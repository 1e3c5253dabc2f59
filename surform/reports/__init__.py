"""Reports: one self-contained HTML page per run, and the figures in it.

    page = Page("Title", "subtitle").headline([Number("relative L2", 0.031, "on 20 trajectories")])
    page.section("Name", "text").figure(figure_or_png, "caption").table(rows).code(text, "folded")
    page.write("report.html")

    fit_report(path, title=, subtitle=, headline=, text=, metrics="metrics.csv" | rows, results=,
               sections=[Section(...)], data={}, environment={}, config="yaml")     # end of a fit

    labelled(values, name, {"time": t, "x": x, "y": y}, units)  -> DataArray for the next line
    fields(prediction, truth=None, times=5)                     -> Figure (1-D, 2-D, 3-D slice)
    curves({name: (x, y)}, xlabel=, ylabel=, logy=)             -> Figure
    player({title: field over time}, caption)                   -> HTML for page.html(...)
    loss_curves("metrics.csv" | rows, keys={legend: column})    -> Figure

Nothing here knows models or trainers: arguments are plain values and labelled arrays.
"""

from __future__ import annotations

from surform.reports.losses import loss_curves, read_metrics
from surform.reports.page import Number, Page, Section, format_value
from surform.reports.panels import fields
from surform.reports.player import player
from surform.reports.plots import curves, label, labelled
from surform.reports.run import fit_report

__all__ = [
    "Number",
    "Page",
    "Section",
    "curves",
    "fields",
    "fit_report",
    "format_value",
    "label",
    "labelled",
    "loss_curves",
    "player",
    "read_metrics",
]
