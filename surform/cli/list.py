"""`surform list`: what there is, by name, without importing any of it."""

from __future__ import annotations

import argparse
import fnmatch
import json
import shutil
import sys

from surform.cli.catalog import SECTIONS, catalog, summary_of

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = "List models, pretrained weights, recipes, solvers and official systems."
EXAMPLE = "surform list '*former*'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[PATTERN] and the options."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        help=f"part of a name, a shell pattern, or a section: {', '.join(SECTIONS)}",
    )
    parser.add_argument("--json", action="store_true", help="print names and places as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what matches; ValueError when nothing does."""
    found = _matching(args.pattern)
    if args.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    longest = max(len(name) for table in found.values() for name in table)
    for section, table in found.items():
        sys.stdout.write(f"{section}\n")
        for name, where in sorted(table.items()):
            line = f"  {name:<{longest}}  {summary_of(section, name, where)}".rstrip()
            sys.stdout.write((line if len(line) <= width else line[: width - 1] + "…") + "\n")
    return 0


def _matching(pattern: str) -> dict[str, dict[str, str]]:
    tables = {section: table for section, table in catalog().items() if table}
    if pattern in SECTIONS:
        if pattern in tables:
            return {pattern: tables[pattern]}
        raise ValueError(f"there are no {pattern} models in this installation")
    glob = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    found = {
        section: {n: w for n, w in table.items() if fnmatch.fnmatchcase(n.lower(), glob.lower())}
        for section, table in tables.items()
    }
    found = {section: table for section, table in found.items() if table}
    if not found:
        raise ValueError(f"nothing is called {pattern!r}: `surform list` shows every name")
    return found
