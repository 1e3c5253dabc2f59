"""`surform demo`: from nothing to a trained model beside the true flow, in minutes."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Make Kolmogorov flow data with the built-in solver, train a small FactFormer, roll it out 200 "
    "steps beside the true flow and write a report. Takes up to ten minutes on two cores; exit "
    "code 1 when the model misses the mark."
)
EXAMPLE = "surform demo --quick"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--out", type=Path, help="folder (default: demo, or demo-quick); goes on where it stopped"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="everything very small, in a minute: shows that it runs, not what it can do",
    )


def run(args: argparse.Namespace) -> int:
    """Run the stages; 1 when a requirement is missed."""
    out = args.out or Path("demo-quick" if args.quick else "demo")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; the demo needs a folder")
    from surform.cli.demo_stages import Demo

    return Demo(out, args.quick).run()
