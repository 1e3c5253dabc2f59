"""Kills, full disks and the like: commands of this package, each with a table of counts.

python -m benchmarks.faults kill                       # 50 kills of each command
python -m benchmarks.faults kill --times 5 --only fit convert
python -m benchmarks.faults kill --times 1 --seed 17 --only fit    # the kill of a seed again
python -m benchmarks.faults disk
python -m benchmarks.faults writers
python -m benchmarks.faults readonly
python -m benchmarks.faults archives
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from benchmarks.faults.archives import offer
from benchmarks.faults.cases import CASES
from benchmarks.faults.disk import fill, mountable
from benchmarks.faults.forked import ask
from benchmarks.faults.hostile import HOSTILE
from benchmarks.faults.kill import kill_often
from benchmarks.faults.readonly import all_formats, forbid, is_root
from benchmarks.faults.samples import make_inputs
from benchmarks.faults.writers import write_twice
from surform.bench.measure import keep_rows

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 with any finding."""
    args = _arguments().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="surform-faults-") as place:
        rows = args.run(args, Path(place))
    if rows:
        _show(rows)
    if rows and args.keep:
        keep_rows(RESULTS / f"faults-{args.what}.json", rows)
    return 1 if any(row["findings"] for row in rows) else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    parts = parser.add_subparsers(dest="what", required=True)
    kill = _part(parts, "kill", _kill, "kill -9 at random moments, and start again")
    kill.add_argument("--times", type=int, default=50, help="kills of each command")
    kill.add_argument("--seed", type=int, default=1, help="of the first kill")
    full = _part(parts, "disk", _disk, "full disks, and going on when there is room")
    full.add_argument("--times", type=int, default=50, help="disks of each command")
    pairs = _part(parts, "writers", _writers, "two processes that write the same output")
    pairs.add_argument("--times", type=int, default=50, help="pairs of each command")
    pairs.add_argument("--seed", type=int, default=1, help="of the first pair")
    locked = _part(parts, "readonly", _readonly, "folders that may not be written")
    locked.add_argument("--formats", nargs="*", default=None, help="of benchmarks.fuzz; all")
    hostile = _part(parts, "archives", _archives, "hostile models, archives, pickles and names")
    hostile.add_argument("--say", action="store_true", help="print what each was refused with")
    hostile.add_argument("--only", nargs="+", choices=list(HOSTILE), default=list(HOSTILE))
    for part in (kill, full, pairs, locked):
        part.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    return parser


def _part(parts: Any, name: str, run: Any, what: str) -> argparse.ArgumentParser:
    part = parts.add_parser(name, help=what, description=what)
    part.set_defaults(run=run)
    part.add_argument(
        "--keep", action="store_true", help=f"in benchmarks/results/faults-{name}.json"
    )
    return part


def _kill(args: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    ask(make_inputs, root)
    rows = []
    for name in args.only:
        found = kill_often(name, root, range(args.seed, args.seed + args.times))
        counts = {"kills": found.kills, "after writing began": found.begun}
        rows.append(_row("command", name, counts, found, "seed"))
    return rows


def _disk(args: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    ask(make_inputs, root)
    mounts = mountable(root)
    if not mounts:
        print(
            "no file system in memory may be mounted here: the size of files is limited instead",
            file=sys.stderr,
        )
    rows = []
    for name in args.only:
        found = fill(name, root, args.times, mounts)
        counts = {"disks": found.tries, "full": found.refused, "enough": found.enough}
        rows.append(_row("command", name, counts, found, "room"))
    return rows


def _writers(args: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    ask(make_inputs, root)
    rows = []
    for name in args.only:
        found = write_twice(name, root, range(args.seed, args.seed + args.times))
        counts = {"pairs": found.pairs, "both wrote": found.both, "one was told": found.one}
        rows.append(_row("command", name, counts, found, "seed"))
    return rows


def _readonly(args: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    if not is_root():
        print("left out: only root can run a command as another user", file=sys.stderr)
        return []
    ask(make_inputs, root)
    formats = all_formats() if args.formats is None else args.formats
    rows = []
    for found in forbid(root, args.only, formats):
        counts = {"tries": found.tries, "worked": found.worked, "told": found.refused}
        rows.append(_row("read-only", found.name, counts, found, ""))
    return rows


def _archives(args: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    ask(make_inputs, root)
    rows = []
    for kind in args.only:
        found = offer(kind, root)
        if args.say:
            print(*(f"{n}: {said}" for n, said in found.sentences.items()), sep="\n")
        counts = {"files": found.files, "refused": found.refused}
        rows.append(_row("hostile", kind, counts, found, ""))
    return rows


def _row(kind: str, name: str, counts: dict[str, int], found: Any, where: str) -> dict[str, Any]:
    """One row of the table, and its findings on standard error."""
    what = [f"{where} {which}: {text}".strip() for which, text in found.findings]
    print(f"{name}: {len(what)} findings in {found.seconds:.0f} s", file=sys.stderr)
    for text in what:
        print(f"  {text}", file=sys.stderr)
    seconds = round(found.seconds, 1)
    return {kind: name, **counts, "findings": len(what), "seconds": seconds, "what": what}


def _show(rows: list[dict[str, Any]]) -> None:
    columns = [name for name in rows[0] if name not in ("what", "seconds")]
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[name]) for name in columns))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
