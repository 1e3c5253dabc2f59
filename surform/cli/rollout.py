"""`surform rollout`: run a model step after step from given data, or a policy in its world."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from surform.cli.rollout_models import load_models
from surform.cli.rollout_policy import add_policy_arguments, refuse_policy_options

if TYPE_CHECKING:
    import xarray as xr

    from surform.rollout.corrections import Correction

__all__ = ["EXAMPLE", "HELP", "add_arguments", "print_table", "run"]

HELP = (
    "Run a model step after step from the first frames of a data set; compare with the frames that "
    "follow, as far as there are any; write predictions and a report. With --env: let a policy act "
    "in an environment, and count where it succeeds."
)
EXAMPLE = (
    "surform rollout runs/flow --data flow.zarr --steps 16 "
    "--out prediction.zarr --report report.html"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "model",
        nargs="+",
        help="a shipped model's name, a saved folder, a run folder, hf://... or a .ckpt; several, "
        "or a model made by `surform ensemble`, run side by side",
    )
    add("--data", help="data set to start from: .zarr, .nc, .h5, glob or URL")
    add(
        "--steps",
        type=int,
        help="frames to predict, as many as you like; of policies, most steps of an episode",
    )
    add("--out", help="folder *.zarr for the predictions; of policies, folder for all results")
    add("--report", help="write a self-contained HTML page here")
    add("--statistics", metavar="FILE", help="write the pooled statistics here, as .json or .nc")
    add("--samples", default=":", metavar="A:B", help="which samples, as a slice (default: all)")
    add("--start", type=int, default=0, help="first frame of the input window (default: 0)")
    add(
        "--members",
        "--ensemble",
        type=int,
        metavar="N",
        help="runs from every start and model, each from a perturbed copy of it",
    )
    add(
        "--perturb",
        "--noise",
        type=float,
        metavar="P",
        help="of --members: perturbation over standard deviation (0.01)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="seed of the perturbations; of policies, of the first episode (default: 0)",
    )
    add(
        "--damping",
        type=float,
        metavar="S",
        help="damp the shortest waves along periodic axes by exp(-S) at every step",
    )
    add(
        "--damping-cutoff",
        type=float,
        metavar="F",
        help="of --damping: leave waves up to this part of the largest wavenumber alone (0.5)",
    )
    add(
        "--clamp",
        type=float,
        metavar="K",
        help="cut values off K standard deviations from the mean of the training data",
    )
    add(
        "--conserve-mean",
        nargs="+",
        default=[],
        metavar="VARIABLE",
        help="keep the mean over the grid of these variables as it is at the start",
    )
    add(
        "--limit-energy",
        metavar="DATA",
        help="keep the change of energy in one step within that of this data set, e.g. of training",
    )
    add("--batch-size", type=int, default=8, help="samples, or episodes, in one call (default: 8)")
    add("--blow-up", type=float, default=100.0, help="growth that ends a run (default: 100)")
    add("--any-grid", action="store_true", help="accept another grid than the model was trained on")
    add("--device", default="cpu", help="torch device (default: cpu)")
    add_policy_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Roll out, print a table, write what was asked for; 1 when a run blew up."""
    if args.env is not None:
        from surform.cli.rollout_policy import run_policy

        return run_policy(args)
    return _run_fields(args)


def _run_fields(args: argparse.Namespace) -> int:
    from surform.data.fields import open_fields
    from surform.rollout import Ensemble, Trajectories, rollout_to
    from surform.rollout.choose import observers_for
    from surform.rollout.report import rollout_report
    from surform.rollout.statistics import homogeneous_axes
    from surform.rollout.statistics_figures import summarize_statistics
    from surform.rollout.statistics_files import write_statistics
    from surform.rollout.summary import blow_ups, left_out, summarize

    _require_fields(args)
    _refuse_lone_options(args)
    _refuse_overwriting(args)
    models = load_models(args.model, args.device)
    data = open_fields(args.data).isel(sample=_slice(args.samples))
    if not data.sizes["sample"]:
        raise ValueError(f"--samples {args.samples} selects none of the samples in {args.data}")
    course = Trajectories.of(data, models[0].description, args.start, args.any_grid)
    if args.statistics and not homogeneous_axes(course.grid):
        axes = ", ".join(course.grid.axes)
        raise ValueError(f"--statistics are means over periodic axes, {axes} are not")
    ensemble = None
    if args.members is not None:
        noise = 0.01 if args.perturb is None else args.perturb
        ensemble = Ensemble(args.members, noise, args.seed)
    with _progress(f"rollout: {args.steps} steps") as progress:
        prediction = rollout_to(
            args.out,
            models,
            data,
            args.steps,
            observers=observers_for(course.grid, (args.members or 1) * len(models)),
            ensemble=ensemble,
            corrections=_corrections(args),
            batch_size=args.batch_size,
            start=args.start,
            blow_up=args.blow_up,
            any_grid=args.any_grid,
            progress=progress,
        )
    rows = summarize(prediction)
    if rows:
        print_table(rows, ("variable", "figure", "model", "persistence", "runs"))
    else:
        print("no frames after the start to compare with")
    rows = summarize_statistics(prediction)
    if rows:
        print("\nstatistics")
        print_table(rows, ("variable", "figure", "model", "one true run"))
    if args.report:
        name = type(models[0].net).__name__ + (f" x {len(models)}" if len(models) > 1 else "")
        rollout_report(
            args.report,
            prediction,
            course.future(args.steps),
            title=f"{name}: {args.steps} steps",
            subtitle=f"`{' '.join(args.model)}` on `{args.data}`",
            details={"How it was made": _details(args, models[0], prediction)},
        )
    if args.statistics:  # last: there are none where every run blew up
        write_statistics(args.statistics, prediction)
    for path in (args.out, args.report, args.statistics):
        if path:
            print(f"wrote {path}")
    bad, runs = blow_ups(prediction)
    if bad:
        print(f"{bad} of {runs} runs blew up: {prediction.attrs['blow_up']}")
        print(f"left out of the statistics: {left_out(prediction)}")
    return 1 if bad else 0


def _corrections(args: argparse.Namespace) -> list[Correction]:
    from surform.data.fields import open_fields
    from surform.rollout.corrections import Clamp, ConserveMean, EnergyLimit, SpectralDamping

    found: list[Correction] = []
    if args.damping is not None:
        cutoff = 0.5 if args.damping_cutoff is None else args.damping_cutoff
        found.append(SpectralDamping(args.damping, cutoff))
    if args.clamp is not None:
        found.append(Clamp(args.clamp))
    if args.limit_energy is not None:
        found.append(EnergyLimit(open_fields(args.limit_energy)))
    if args.conserve_mean:
        found.append(ConserveMean(tuple(args.conserve_mean)))
    return found


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


def _require_fields(args: argparse.Namespace) -> None:
    refuse_policy_options(args)
    missing = [name for name in ("data", "steps") if getattr(args, name) is None]
    if missing:
        raise ValueError(
            f"--{missing[0]} is missing, or, for a policy, --env (see surform rollout --help)"
        )


def _refuse_lone_options(args: argparse.Namespace) -> None:
    for option, of in (("perturb", "members"), ("damping_cutoff", "damping")):
        if getattr(args, option) is not None and getattr(args, of) is None:
            raise ValueError(f"--{option.replace('_', '-')} does nothing without --{of}")


def _refuse_overwriting(args: argparse.Namespace) -> None:
    from surform.data.atomic import refuse_folder
    from surform.data.outputs import check_output, check_store
    from surform.rollout.statistics_files import check_suffix
    from surform.rollout.store import MADE_BY

    data = [args.data, args.limit_energy]
    if args.out:
        check_store(args.out, data, MADE_BY, "a rollout")
    written = [args.out]
    for name, path in (("--report", args.report), ("--statistics", args.statistics)):
        if path:
            check_output(path, [*data, *written])
            refuse_folder(path, name)
            written.append(path)
    if args.statistics:
        check_suffix(args.statistics)


def _progress(title: str):
    """A bar on standard error, fed with (done, total)."""
    from contextlib import contextmanager

    from surform.data.solvers.progress import progress_bar

    @contextmanager
    def counting():
        with progress_bar(title) as show:
            yield lambda done, total: show(done / total)

    return counting()


def print_table(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> None:
    """Print rows under the names of their columns."""
    from rich.console import Console
    from rich.table import Table

    from surform.reports import format_value

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for row in rows:
        table.add_row(*(format_value(row.get(column, "")) for column in columns))
    Console().print(table)


def _details(args: argparse.Namespace, model: Any, prediction: xr.Dataset) -> dict[str, Any]:
    source = model.description.source
    return {
        "model": " ".join(args.model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": args.data,
        "samples": args.samples,
        "start": args.start,
        "steps": args.steps,
        "ensemble": args.members
        and f"{args.members} members, perturbation {prediction.attrs['noise']}, seed {args.seed}",
        "corrections": prediction.attrs["corrections"],
        **{f"trained on: {name}": value for name, value in source.items()},
    }
