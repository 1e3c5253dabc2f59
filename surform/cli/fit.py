"""`surform fit | validate | test | predict`: own options first, heavy imports only to run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from surform.cli.parser import Parser, check_options, run_first

__all__ = ["EXAMPLES", "OVERRIDES", "OWN", "run_raw"]

EXAMPLES = {
    "fit": (
        "surform fit --config operators/quickstart --data.path flow.zarr --data.generate null "
        "--data.split '{train: 6, validation: 1, test: 1}' --trainer.max_steps 30 --out runs/flow"
    ),
    "validate": "surform validate runs/flow",
    "test": "surform test runs/flow",
    "predict": "surform predict runs/flow --out predicted.zarr",
}

OWN = ("config", "ckpt_path", "out", "override", "print_config", "no_report", "every_n_steps")
OWN += ("check",)

_WHAT = {
    "fit": "Train a model. The run folder ends with the best model, metrics and report.html.",
    "validate": "Evaluate a checkpoint on the validation split, every window counted.",
    "test": "Evaluate a checkpoint on the test split, every window counted.",
    "predict": "Write predictions: for fields those of a checkpoint on the test split, for series "
    "the forecast after the last row of --data.path, for meshes those of its samples, on the same "
    "meshes, for images their classes, or the poses of the persons in them (--data.boxes FILE says "
    "where these are), for rankers the scores of its rows. A saved or shipped model predicts from "
    "--data.path, whatever its domain.",
}

OVERRIDES = """any option of the recipe can be given on the command line:
  --model.net factformer2d     a registered model (its former options are dropped)
  --model.net.dim 64           an option of the network
  --model.loss relative_l2     a registered loss
  --model.compile true         torch.compile
  --data.batch_size 4          an option of the data
  --trainer.max_steps 100      an option of Lightning's Trainer: --trainer.devices 2, ...
  --trainer.callbacks+=Timer   append to a list
"""


def run_raw(command: str, argv: Sequence[str]) -> int:
    """Run one of the four commands with the rest of the command line as it stands."""
    parser = _parser(command)
    try:
        args, rest = parser.parse_known_args(list(argv) if command == "fit" else run_first(argv))
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    _check_names(parser, args, rest)
    from surform.cli.lightning_cli import run

    return run(command, args, rest)


def _check_names(
    parser: argparse.ArgumentParser, args: argparse.Namespace, overrides: Sequence[str]
) -> None:
    """Refuse what can be told from names alone, before torch and Lightning take their seconds."""
    from surform.recipes import find_recipe

    check_options(parser, overrides)
    for source in args.config:
        find_recipe(source)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"surform {command}",
        description=_WHAT[command],
        epilog=f"{OVERRIDES}\nexample:\n  {EXAMPLES[command]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="a recipe by name or a YAML file; several are merged, later ones win",
    )
    parser.add_argument(
        "--ckpt_path",
        metavar="last|best|FILE|RUN" + ("|MODEL" if command == "predict" else ""),
        help="continue (fit) or use this checkpoint; its configuration is the default; of a run "
        + ("the last one" if command == "fit" else "the best one; may stand first, by itself"),
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="run folder, or file of predictions"
    )
    parser.add_argument(
        "--override",
        action="store_true",
        help="let the command line win over what the checkpoint says",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="print the resolved configuration and stop"
    )
    if command == "fit":
        parser.add_argument(
            "--every_n_steps", type=int, metavar="N", help="save last.ckpt after so many steps, too"
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="build and read everything, say what memory training takes, and stop",
        )
        parser.add_argument("--no_report", action="store_true", help="skip report.html at the end")
    return parser
