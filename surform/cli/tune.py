"""`surform tune`: own options first, heavy imports only to run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from surform.cli.fit import OVERRIDES
from surform.cli.parser import Parser, check_options

__all__ = ["EXAMPLES", "run_raw"]

EXAMPLES = {
    "tune": (
        "surform tune --config forecasting/quickstart --trainer.max_epochs 1 "
        "--search model.optimizer.lr=log:1e-4:1e-2 'model.net.dim=[32,64]' --trials 3 --out tuned"
    ),
}

_WHAT = (
    "Search the options that train best. Every trial trains the recipe with other values of the "
    "searched options, all with the same seed, and is judged by the figure of the validation "
    "split that the recipe watches; the test split is not looked at. The folder ends with "
    "best.yaml, which surform fit --config takes, with the model of the best trial and with a "
    "table of all. The same command goes on where it was stopped."
)

_SPACE = """what --search takes, as words of the command line or as lines NAME: VALUES of a file:
  model.net.dropout=0:0.4               between two numbers; whole ones where the option is whole
  model.optimizer.lr=log:1e-4:1e-2      the same, by orders of magnitude
  'model.net.dim=[16,32,64]'            one of these; also names: 'model.loss=[mse,mae]'
"""


def run_raw(command: str, argv: Sequence[str]) -> int:
    """Run the command with the rest of the command line as it stands."""
    parser = _parser()
    try:
        args, overrides = parser.parse_known_args(list(argv))
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    check_options(parser, overrides)
    from surform.data.extras import require_extra

    require_extra("optuna", "tune", "tuning")
    from surform.cli.tune_run import run

    return run(args, overrides)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="surform tune",
        description=_WHAT,
        epilog=f"{_SPACE}\n{OVERRIDES}\nexample:\n  {EXAMPLES['tune']}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="a recipe by name or a YAML file; several are merged, later ones win; of a folder "
        "that is gone on with, its own is the default",
    )
    add(
        "--search",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUES|FILE",
        help="options and the values to choose from, or a YAML file of them; later ones win",
    )
    add(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of the trials, best.yaml and trials.csv; one that is there is gone on with",
    )
    add(
        "--trials",
        type=int,
        default=20,
        metavar="N",
        help="trials in the folder, those of earlier commands among them (default: 20)",
    )
    add(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="begin no trial after this time",
    )
    add(
        "--prune",
        action="store_true",
        help="stop trials that are behind the median of the others at the same validation",
    )
    return parser
