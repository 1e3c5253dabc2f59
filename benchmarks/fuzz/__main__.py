"""Damaged files of every format, read as commands read them: counts, and what is wrong.

python -m benchmarks.fuzz                              # 20,000 inputs of each format
python -m benchmarks.fuzz --inputs 500 --only series-csv atoms-xyz
python -m benchmarks.fuzz --one series-csv 417         # one input, with its traceback
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from benchmarks.fuzz.formats import find, names
from benchmarks.fuzz.runner import Count, fuzz
from surform.bench.measure import keep_rows

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Exit code 1 with any finding."""
    args = _arguments().parse_args(argv)
    if args.one:
        name, seed = args.one[0], int(args.one[1])
        count = fuzz(name, find(name), range(seed, seed + 1), args.limit, trace=True)
        for _, text in count.findings:
            print(text)
        print(f"{name} {seed}: {'a finding' if count.findings else 'right'}")
        return 1 if count.findings else 0
    rows = []
    for name in args.only or names():
        if find(name).lacks():
            print(f"{name} left out, it needs {', '.join(find(name).lacks())}", file=sys.stderr)
            continue
        begun, first = time.perf_counter(), args.seed
        count = fuzz(name, find(name), range(first, first + args.inputs), args.limit)
        rows.append(_row(count, time.perf_counter() - begun))
        _say(count, rows[-1]["seconds"])
        if args.keep:  # at once: all formats take hours
            keep_rows(RESULTS / "fuzz.json", rows[-1:])
    _show(rows)
    return 1 if any(row["findings"] for row in rows) else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("--inputs", type=int, default=20000, help="of each format")
    parser.add_argument("--only", nargs="+", choices=names(), metavar="FORMAT")
    parser.add_argument("--seed", type=int, default=1, help="of the first input; 0 is undamaged")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for an input")
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "SEED"), help="show one input's error")
    parser.add_argument("--keep", action="store_true", help="in benchmarks/results/fuzz.json")
    return parser


def _row(count: Count, seconds: float) -> dict[str, Any]:
    return {
        "format": count.name,
        "inputs": count.inputs,
        "read": count.read,
        "refused": count.refused,
        "findings": len(count.findings),
        "kinds": {kind: entry[1] for kind, entry in count.kinds().items()},
        "seconds": round(seconds, 1),
    }


def _say(count: Count, seconds: float) -> None:
    shown = f"{count.read} read, {count.refused} refused, {len(count.findings)} findings"
    print(f"{count.name}: {count.inputs} inputs in {seconds} s, {shown}", file=sys.stderr)
    for number, seed, text in count.kinds().values():
        print(f"  {number} x, first --one {count.name} {seed}: {text}", file=sys.stderr)


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("format", "inputs", "read", "refused", "findings", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("format", "inputs", "read", "refused")),
                      str(row["findings"]))  # fmt: skip
    total = [sum(row[key] for row in rows) for key in ("inputs", "read", "refused", "findings")]
    table.add_row(f"{len(rows)} formats", *map(str, total))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
