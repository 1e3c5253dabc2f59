"""`surform bench latency`: p50 and p99 of a saved model's answers, by the size of the batch."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Measure the model that follows "latency" in batches of each size."""
    import torch
    from rich.progress import Progress

    from surform.bench.latency import measure_latency
    from surform.bench.measure import save
    from surform.cli.fit_progress import quiet
    from surform.cli.load import load_any

    if len(args.cases) != 2:
        raise ValueError("surform bench latency takes one saved model, run folder or .ckpt")
    if min(args.batch_size) < 1 or args.calls < 1:
        raise ValueError("--batch-size and --calls must be at least 1")
    quiet()
    torch.set_num_threads(args.threads)
    name = args.cases[1]
    model = load_any(name)
    rows = []
    with Progress(transient=True) as progress:
        for size in progress.track(args.batch_size, description="measuring"):
            rows.append(measure_latency(model, size, args.calls))
    _show(f"{name}: {_size(model):.1f} MB, threads {args.threads}", rows)
    if args.out:
        print(f"wrote {save(args.out, rows, model=name, megabytes=_size(model))}")
    return 0


def _size(model: Any) -> float:
    """Of all weights [MB]."""
    return sum(value.nbytes for value in model.state_dict().values()) / 1e6


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from surform.bench.latency import COLUMNS

    table = Table(title=escape(title))
    for heading in COLUMNS.values():
        table.add_column(escape(heading), justify="right")
    for row in rows:
        cells = (row[key] for key in COLUMNS)
        table.add_row(
            *(f"{v:.3g}" if isinstance(v, float) and v < 1000 else f"{v:,.0f}" for v in cells)
        )
    Console().print(table)
