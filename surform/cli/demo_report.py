"""The demo's page: the flow in motion first, then how good it is, then how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from surform.cli.demo_checks import Check
from surform.reports import Number, Page, loss_curves, read_metrics
from surform.rollout.report import add_rollout

__all__ = ["write_demo_report"]

_TEXT = (
    "A transformer has watched a stirred two-dimensional fluid and now continues it by itself: it "
    "is given the first few frames, then every frame follows from its own predictions. The true "
    "flow, computed by a spectral solver from the same start, runs beside it. Such a flow is "
    "chaotic, so every prediction parts from the truth in the end; a good one stays with it for "
    "long, and keeps the right statistics afterwards."
)


def write_demo_report(
    folder: Path,
    recipe: str,
    prediction: xr.Dataset,
    truth: xr.Dataset | None,
    checks: Sequence[Check],
    facts: Mapping[str, Any],
) -> Path:
    """Write `folder/report.html`; returns its path."""
    page = Page(
        "A transformer continues a turbulent flow",
        f"FactFormer on Kolmogorov flow, {prediction.sizes['time']} steps · trained here, now, by "
        f"`surform demo` in {facts.get('seconds for training', 0) / 60:.1f} minutes",
    )
    page.headline([Number(c.name, c.value, c.note, c.passed) for c in checks]).text(_TEXT)
    add_rollout(page, prediction, truth)
    metrics = folder / "run" / "metrics.csv"
    if metrics.is_file():
        page.section("Training").figure(
            loss_curves(read_metrics(metrics)), "Relative L2 over optimizer steps."
        )
    page.section("What was asked of it").table(
        [
            {"requirement": c.name, "reached": c.value, "wanted": c.wanted, "met": _yes(c.passed)}
            for c in checks
        ]
    )
    page.section("How it was made").table(facts)
    page.text("The same by hand, with everything in your hands:").code(_commands(folder, recipe))
    return page.write(folder / "report.html")


def _commands(folder: Path, recipe: str) -> str:
    return (
        f"surform fit --config {recipe} --data.path {folder}/train.zarr --out {folder}/run\n"
        f"surform rollout {folder}/run --data {folder}/test.zarr --steps 200 \\\n"
        f"    --out {folder}/prediction.zarr --report {folder}/rollout.html"
    )


def _yes(passed: bool) -> str:
    return "yes" if passed else "no"
