"""`surform backtest`: a forecaster at rolling origins, beside simple forecasts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from surform.cli.parser import Parser, check_options, run_first

__all__ = ["EXAMPLES", "run_raw"]

EXAMPLES = {
    "backtest": (
        "surform backtest --config forecasting/quickstart --trainer.max_epochs 1 "
        "--folds 2 --out backtest"
    ),
}

_WHAT = (
    "Evaluate a forecaster at rolling origins: the test split is cut into folds, and before each "
    "the model may see the rows that come first. Naive, seasonal naive, ridge and DLinear "
    "forecasts stand beside it, all with conformal intervals."
)


def run_raw(command: str, argv: Sequence[str]) -> int:
    """Run the command with the rest of the command line as it stands."""
    parser = Parser(
        prog="surform backtest",
        description=_WHAT,
        epilog=(
            "any option of the recipe can be given, too, as in surform fit: --data.path mine.csv\n"
            f"\nexample:\n  {EXAMPLES['backtest']}"
        ),
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
        help="a recipe by name or a YAML file; it is trained first, unless --ckpt_path is a model",
    )
    add(
        "--ckpt_path",
        metavar="RUN|FILE|MODEL",
        help="a finished run, used as it is unless --refit; or a saved model or ensemble, with "
        "--config for the data; may stand first, by itself",
    )
    add("--folds", type=int, default=4, help="parts of the test split (default: 4)")
    add(
        "--window",
        choices=("expanding", "sliding"),
        default="expanding",
        help="with --refit, the training rows of a fold: all before it, or as many as at first "
        "(default: expanding)",
    )
    add("--refit", action="store_true", help="train all models anew for every fold")
    add("--stride", type=int, default=1, help="steps between two test windows (default: 1)")
    add("--season", type=int, metavar="N", help="steps in a season (default: by the time step)")
    add("--no-dlinear", action="store_true", help="leave out DLinear, which must be trained")
    add(
        "--out",
        type=Path,
        default=Path("backtest"),
        metavar="FOLDER",
        help="folder of backtest.json, backtest.csv and report.html (default: backtest)",
    )
    add(
        "--out_forecasts",
        type=Path,
        metavar="FILE",
        help="all forecasts as a table, .parquet or .csv, a row per model, origin, step, variate",
    )
    try:
        args, overrides = parser.parse_known_args(run_first(argv))
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    check_options(parser, overrides)
    from surform.cli.backtest_run import run

    return run(args, overrides)
