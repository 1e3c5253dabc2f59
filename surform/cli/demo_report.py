"""The demo's page: the flow in motion first, then how good it is, then how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from surform.cli.demo_checks import Check
from surform.reports import Number, Page, loss_curves, read_metrics
from surform.rollout.drift import Drift, drifts
from surform.rollout.report import add_rollout

__all__ = ["by_hand", "write_demo_report"]

_TEXT = (
    "A transformer has watched a stirred two-dimensional fluid and now continues it by itself: it "
    "is given the first few frames, then every frame follows from its own predictions. The true "
    "flow, computed by a spectral solver from the same start, runs beside it. Such a flow is "
    "chaotic, so every prediction parts from the truth in the end; a good one stays with it for "
    "long."
)
_CAPTION = (
    "One-step errors are means over many starts along the test flows; the table of figures above "
    "has those of the first start. A time with correlation > 0.9 ends with the last frame above; "
    "the table of figures has that of the first frame below, a step of {step:.3g} later."
)


def write_demo_report(
    folder: Path,
    fit_words: Sequence[str],
    prediction: xr.Dataset,
    truth: xr.Dataset | None,
    checks: Sequence[Check],
    facts: Mapping[str, Any],
    summary: Mapping[str, Any],
    judged: bool = True,
) -> Path:
    """Write `folder/report.html`; returns its path.

    Args:
        fit_words: what `surform fit` was told, apart from the run's folder.
        summary: of the training run.
        judged: whether the page says which requirements are met.
    """
    steps = prediction.sizes["time"]
    page = Page(
        "A transformer continues a turbulent flow",
        f"FactFormer on Kolmogorov flow, {steps} steps · trained here, now, by "
        f"`surform demo` in {facts.get('seconds for training', 0) / 60:.1f} minutes",
    )
    found = drifts(prediction)
    page.headline([Number(c.name, c.value, c.note, c.passed if judged else None) for c in checks])
    page.headline([Number(d.name, d.mean(), f"{d.reach()}; not judged") for d in found])
    page.text(f"{_TEXT} {_afterwards(found, steps)}")
    add_rollout(page, prediction, truth)
    metrics = folder / "run" / "metrics.csv"
    if metrics.is_file():
        spans = summary.get("loss_spans")
        figure = loss_curves(read_metrics(metrics), ylabel="relative L2", spans=spans)
        page.section("Training").figure(figure, _about_losses(summary))
    rows = [{"requirement": c.name, "reached": c.value, "wanted": c.wanted} for c in checks]
    if judged:
        rows = [row | {"met": _yes(c.passed)} for row, c in zip(rows, checks, strict=True)]
    caption = _CAPTION.format(step=float(prediction["lead_time"][0]))
    page.section("What was asked of it").table(rows, caption)
    page.section("How it was made").table(facts)
    page.text("The same by hand, with everything in your hands:")
    page.code(by_hand(folder, fit_words, steps))
    return page.write(folder / "report.html")


def by_hand(folder: Path, fit_words: Sequence[str], steps: int) -> str:
    """Commands that train and roll out as the demo did, beside what it has written."""
    own = folder / "by-hand"
    run, written = shlex.quote(str(own / "run")), shlex.quote(str(own / "prediction.zarr"))
    report, test = shlex.quote(str(own / "rollout.html")), shlex.quote(str(folder / "test.zarr"))
    return (
        f"surform fit {shlex.join(fit_words)} \\\n    --out {run}\n"
        f"surform rollout {run} --data {test} --steps {steps} \\\n"
        f"    --out {written} --report {report}"
    )


def _afterwards(found: Sequence[Drift], steps: int) -> str:
    """Whether the rollout keeps the integrals of the flow once it has parted from the truth."""
    if not found:
        return ""
    told = "; ".join(
        f"its {d.name}, {d.mean()} over the {steps} steps, is {d.reach()}" for d in found
    )
    whether = "does" if all(d.kept for d in found) else "does not"
    return f"The best also keep the statistics of the flow afterwards. This one {whether}: {told}."


def _about_losses(summary: Mapping[str, Any]) -> str:
    """With the errors of single frames, which tell why the curves are apart."""
    told = "Relative L2 over optimizer steps."
    frames = summary.get("profiles", {}).get("validation", {}).get("frames", [])
    if frames:
        each = ", ".join(f"{error:.2%}" for error in frames)
        told += f" That of the validation frames one by one, with the best weights: {each}."
    return told


def _yes(passed: bool) -> str:
    return "yes" if passed else "no"
