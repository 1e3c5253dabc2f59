"""`surform verify`: official numbers against ours."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from surform.hub.verify import CaseReport

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Replay recorded calls of the official code through our models and compare every output and "
    "gradient; exit code 1 when one misses its tolerance."
)
EXAMPLE = "surform verify tests/golden/galerkin --dtype float64"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PATH... and the options."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="cases, or folders of cases")
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        help="precision of the replay; default: that of each case. In another precision than the "
        "case's own the tolerance is 1e-4 of each tensor's largest value",
    )
    parser.add_argument(
        "--files", metavar="FOLDER", help="where the public data files lie that some cases need"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the comparison as JSON (- = stdout)"
    )
    parser.add_argument("--quiet", action="store_true", help="one line per case")


def _same_digits_on_every_processor() -> None:
    """MKL without the processor's own instructions, torch without AVX-512: slower, less rounding.

    Gradients of which most cancels keep half their digits, and their last ones depend on the order
    of sums. Both read their variable once, so it is not set where torch has been imported.
    """
    if "torch" in sys.modules:
        return
    os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
    processor = Path("/proc/cpuinfo")
    if processor.exists() and "avx512f" in processor.read_text(encoding="utf-8"):
        os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")


def run(args: argparse.Namespace) -> int:
    """Verify; 1 on a miss."""
    _same_digits_on_every_processor()
    import torch
    from rich.console import Console
    from rich.progress import track

    from surform.data.atomic import refuse_folder, replacing
    from surform.hub.official.fixture import Fixture
    from surform.hub.verify import find_cases, system_of, verify_case, write_json

    if args.json and args.json != "-":
        refuse_folder(args.json, "--json")
    fixtures = [Fixture.load(path, args.files) for path in find_cases(args.paths)]
    for fixture in fixtures:
        system_of(fixture)
    dtype = getattr(torch, args.dtype) if args.dtype else None
    progress = track(
        fixtures, "replaying", console=Console(stderr=True), transient=True, disable=_quiet()
    )
    reports = [verify_case(fixture, dtype) for fixture in progress]
    if args.json == "-":
        sys.stdout.write(write_json(reports) + "\n")
    else:
        _show(reports, quiet=args.quiet)
        if args.json:
            with replacing(Path(args.json)) as partial:
                partial.write_text(write_json(reports) + "\n")
    return 0 if all(report.passed for report in reports) else 1


def _quiet() -> bool:
    return not sys.stderr.isatty()


def _show(reports: list[CaseReport], *, quiet: bool) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(_summary(reports) if quiet else _details(reports))
    compared = sum(len(report.rows) for report in reports)
    failed = [report for report in reports if not report.passed]
    if failed:
        console.print(f"[red]{len(failed)} of {len(reports)} cases miss[/red] ({compared} tensors)")
    else:
        console.print(
            f"[green]all {len(reports)} cases within tolerance[/green] ({compared} tensors)"
        )


def _summary(reports: list[CaseReport]) -> Table:
    from rich.markup import escape

    table = _table("case", "kind", "precision", "tensors", "largest error", "where", "s", "")
    for r in reports:
        worst = r.worst
        error, where = (f"{worst.error:.1e}", worst.name) if worst else ("", r.problem)
        seconds, mark = f"{r.seconds:.1f}", _mark(r.passed)
        count = str(len(r.rows))
        table.add_row(_name(r), r.kind, r.dtype, count, error, escape(where), seconds, mark)
    return table


def _details(reports: list[CaseReport]) -> Table:
    from rich.markup import escape

    table = _table("tensor", "shape", "error", "tolerance", "")
    for r in reports:
        head = f"[bold]{_name(r)}[/bold]\n{r.kind}, {r.dtype}, {r.seconds:.1f} s"
        table.add_row(head, "", "", "", _mark(r.passed))
        if r.problem:
            table.add_row(f"  [red]{escape(r.problem)}[/red]", "", "", "", "")
        for row in r.rows:
            shape = " x ".join(map(str, row.shape)) or "scalar"
            error = row.remark if row.remark and not row.passed else f"{row.error:.1e}"
            table.add_row(f"  {escape(row.name)}", shape, error, row.tolerance, _mark(row.passed))
        table.add_section()
    return table


def _table(*names: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name == "case")
    return table


def _name(report: CaseReport) -> str:
    return f"{report.system}/{report.path.stem}"


def _mark(passed: bool) -> str:
    return "[green]ok[/green]" if passed else "[red]MISS[/red]"
