"""`surform rollout`: run a model step after step from given data, and see how it does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from surform.cli.load import load_any

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Run a model step after step from the first frames of a data set; compare with the frames that "
    "follow, as far as there are any; write predictions and a report."
)
EXAMPLE = (
    "surform rollout runs/flow --data flow.zarr --steps 16 "
    "--out prediction.zarr --report report.html"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("model", help="a shipped model's name, a saved folder, a run folder, hf://... or a .ckpt")
    add("--data", required=True, help="data set to start from: .zarr, .nc, .h5, glob or URL")
    add("--steps", type=int, required=True, help="frames to predict")
    add("--out", help="folder *.zarr for the predictions")
    add("--report", help="write a self-contained HTML page here")
    add("--samples", default=":", metavar="A:B", help="which samples, as a slice (default: all)")
    add("--start", type=int, default=0, help="first frame of the input window (default: 0)")
    add("--ensemble", type=int, metavar="N", help="members per sample, from perturbed starts")
    add("--noise", type=float, default=0.01, help="perturbation over standard deviation (0.01)")
    add("--seed", type=int, default=0, help="seed of the perturbations (default: 0)")
    add("--batch-size", type=int, default=8, help="samples in one model call (default: 8)")
    add("--blow-up", type=float, default=100.0, help="growth that ends a run (default: 100)")
    add("--any-grid", action="store_true", help="accept another grid than the model was trained on")
    add("--device", default="cpu", help="torch device (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Roll out, print a table, write what was asked for; 1 when a run blew up."""
    from surform.data.fields import open_fields
    from surform.rollout import Ensemble, Trajectories, rollout_to
    from surform.rollout.choose import observers_for
    from surform.rollout.report import rollout_report
    from surform.rollout.summary import blow_ups

    _refuse_overwriting(args)
    model = load_any(args.model, args.device)
    if not hasattr(model, "time_window"):
        raise ValueError(
            f"{args.model} does not step fields in time; `surform predict` runs {model.kind} models"
        )
    data = open_fields(args.data).isel(sample=_slice(args.samples))
    if not data.sizes["sample"]:
        raise ValueError(f"--samples {args.samples} selects none of the samples in {args.data}")
    course = Trajectories.of(data, _description(model, args.model), args.start, args.any_grid)
    ensemble = None
    if args.ensemble is not None:
        ensemble = Ensemble(args.ensemble, args.noise, args.seed)
    with _progress(f"rollout: {args.steps} steps") as progress:
        prediction = rollout_to(
            args.out,
            model,
            data,
            args.steps,
            observers=observers_for(course.grid, ensemble),
            ensemble=ensemble,
            batch_size=args.batch_size,
            start=args.start,
            blow_up=args.blow_up,
            any_grid=args.any_grid,
            progress=progress,
        )
    _print_table(prediction)
    if args.report:
        rollout_report(
            args.report,
            prediction,
            course.future(args.steps),
            title=f"{type(model.net).__name__}: {args.steps} steps",
            subtitle=f"`{args.model}` on `{args.data}`",
            details={"How it was made": _details(args, model)},
        )
    for path in (args.out, args.report):
        if path:
            print(f"wrote {path}")
    bad, runs = blow_ups(prediction)
    if bad:
        print(f"{bad} of {runs} runs blew up: {prediction.attrs['blow_up']}")
    return 1 if bad else 0


def _description(model: Any, source: str) -> Any:
    if getattr(model, "description", None) is None:
        raise ValueError(f"{source} does not say which variables, axes and time step it works on")
    return model.description


def _slice(text: str) -> slice:
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3:
        raise ValueError(f"--samples is a slice like 0:4 or 3, not {text!r}")
    if len(numbers) == 1:
        first = numbers[0]
        return slice(None) if first is None else slice(first, first + 1 or None)
    return slice(*numbers)


def _refuse_overwriting(args: argparse.Namespace) -> None:
    from surform.data.atomic import refuse_folder
    from surform.data.outputs import check_output, check_store
    from surform.rollout.store import MADE_BY

    if args.out:
        check_store(args.out, [args.data], MADE_BY, "a rollout")
    if args.report:
        refuse_folder(args.report, "--report")
        check_output(args.report, [args.data, *([args.out] if args.out else [])])


def _progress(title: str):
    """A bar on standard error, fed with (done, total)."""
    from contextlib import contextmanager

    from surform.data.solvers.progress import progress_bar

    @contextmanager
    def counting():
        with progress_bar(title) as show:
            yield lambda done, total: show(done / total)

    return counting()


def _print_table(prediction: xr.Dataset) -> None:
    from rich.console import Console
    from rich.table import Table

    from surform.reports import format_value
    from surform.rollout.summary import summarize

    rows = summarize(prediction)
    if not rows:
        print("no frames after the start to compare with")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("variable", "figure", "model", "persistence", "runs")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for row in rows:
        table.add_row(*(format_value(row.get(column, "")) for column in columns))
    Console().print(table)


def _details(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    source = model.description.source
    return {
        "model": args.model,
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": args.data,
        "samples": args.samples,
        "start": args.start,
        "steps": args.steps,
        "ensemble": args.ensemble and f"{args.ensemble} members, noise {args.noise}",
        **{f"trained on: {name}": value for name, value in source.items()},
    }
