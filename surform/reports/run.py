"""The page that a finished training run ends with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surform.reports.losses import loss_curves, read_metrics
from surform.reports.page import Number, Page, Section

__all__ = ["fit_report"]


def fit_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    subtitle: str = "",
    headline: Sequence[Number] = (),
    text: str = "",
    metrics: str | os.PathLike[str] | Sequence[Mapping[str, float]] = (),
    results: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    sections: Sequence[Section] = (),
    data: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    config: str = "",
    monitor: tuple[str, str] | None = None,
    spans: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html` of a run: headline, loss curves, results, pictures, data, environment.

    Every part but the title may be left out, and then its section is.

    Args:
        metrics: path of the logger's metrics.csv, or its rows; drawn as loss curves.
        results: final metrics as rows or as {name: value}.
        sections: the domain's own pictures and tables.
        data, environment: {name: value} tables (fingerprint, solver; versions, device, seconds).
        config: the resolved configuration as YAML; folded away.
        spans: {"training" and "validation": what their losses are of}, where these differ.
        monitor: column of the metrics that is drawn beside the losses, and what it is called.
    """
    page = Page(title, subtitle).headline(headline).text(text)
    rows = read_metrics(metrics) if isinstance(metrics, str | os.PathLike) else list(metrics)
    if any("loss" in key for row in rows for key in row):
        page.section("Training").figure(
            loss_curves(rows, spans=spans), "Loss over optimizer steps."
        )
        if monitor is not None and sum(monitor[0] in row for row in rows) > 1:
            column, name = monitor
            figure = loss_curves(rows, {"validation": column}, ylabel=name, logy=False)
            page.figure(figure, f"The {name} that chose the weights, after each validation.")
    if results:
        page.section("Results").table(results)
    for section in sections:
        page.add(section)
    for name, table in (("Data", data), ("Environment", environment)):
        if table:
            page.section(name).table(table)
    if config:
        page.section("Configuration").code(config, "The resolved configuration of this run")
    return page.write(path)
