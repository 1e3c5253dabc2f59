"""`surform bench`: speed and memory of the models on this machine, as a table and as JSON."""

from __future__ import annotations

import argparse
import difflib

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Measure models at their published sizes: forward and training time, peak memory, share of the "
    "machine's own matrix product rate, gain over the literal attention, and neuraloperator's FNO "
    "on the same grid where it is installed. All runs alternate. `surform bench data RECIPE|PATH` "
    "measures how fast batches come from its data, by numbers of workers, and where the time goes. "
    "`surform bench latency MODEL` measures how long single answers of a saved model take."
)
EXAMPLE = "surform bench galerkin-burgers --threads 1 --repeats 1 --out speed.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cases",
        nargs="*",
        metavar="CASE",
        help="which cases (all of them), or data RECIPE|PATH, or latency MODEL",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="processor threads (1)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="runs of each (5)")
    parser.add_argument(
        "--workers", default="0,1,2", metavar="N,N", help="of data: numbers of workers (0,1,2)"
    )
    parser.add_argument(
        "--batches", type=int, default=50, metavar="N", help="of data: batches of each (50)"
    )
    parser.add_argument(
        "--batch-size", type=int, nargs="+", default=[1, 16, 256], metavar="N",
        help="of latency: rows in a batch (1 16 256)",
    )  # fmt: skip
    parser.add_argument(
        "--calls", type=int, default=300, metavar="N", help="of latency: calls of each size (300)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the rows as JSON")


def run(args: argparse.Namespace) -> int:
    if args.threads < 1 or args.repeats < 1:
        raise ValueError("--threads and --repeats must be at least 1")
    import torch
    from rich.progress import Progress

    from surform.data.atomic import refuse_folder

    if args.out:
        refuse_folder(args.out, "--out")
    if args.cases[:1] == ["data"]:
        from surform.cli.bench_data import run as run_data

        return run_data(args)
    if args.cases[:1] == ["latency"]:
        from surform.cli.bench_latency import run as run_latency

        return run_latency(args)
    from surform.bench.cases import CASES
    from surform.bench.measure import save
    from surform.bench.speed import measure

    for name in args.cases:
        if name not in CASES:
            near = difflib.get_close_matches(name, CASES, n=2) or list(CASES)
            raise ValueError(f"unknown case {name!r}: did you mean {', '.join(near)}?")
    torch.set_num_threads(args.threads)
    rows = []
    with Progress(transient=True) as progress:
        names = args.cases or list(CASES)
        for name in progress.track(names, description="measuring"):
            rows.append(measure(name, args.repeats))
    _show(rows)
    if args.out:
        print(f"wrote {save(args.out, rows)}")
    return 0


def _show(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from surform.bench.speed import COLUMNS

    table = Table(title="time in milliseconds and in 2048^3 matrix products of the same run")
    for key, heading in COLUMNS.items():
        if any(key in row for row in rows):
            table.add_column(escape(heading), justify="left" if key == "case" else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in COLUMNS if any(key in r for r in rows)))
    Console(width=180).print(table)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
