"""`surform convert`: an official checkpoint into a safe model folder."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surform.hub.official.accounting import Accounting

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Convert an official checkpoint into model.safetensors + config.json + README.md, with every "
    "key accounted for, or a saved model for the official code or transformers (--to). Nothing is "
    "unpickled."
)
EXAMPLE = "surform convert --system galerkin official.pt out/ --constructor arguments.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CHECKPOINT OUT and the options."""
    parser.add_argument(
        "checkpoint",
        metavar="SOURCE",
        help=".pt, .pth, .ckpt, .safetensors or TensorFlow's .index of the official code; without "
        "--system, or with --to, a saved model, a folder of transformers, or hf://owner/repo",
    )
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--system", help="the official code base: surform list official")
    parser.add_argument(
        "--to",
        choices=("surform", "official", "hugging_face"),
        default="surform",
        help="what to write: a model of surform (the default), weights for the official code of "
        "--system, or a folder for transformers",
    )
    parser.add_argument(
        "--constructor", metavar="FILE", help="JSON file with the official constructor's arguments"
    )
    parser.add_argument("--kind", help="kind of model, where the arguments leave it open")
    parser.add_argument("--options", metavar="JSON", default="{}", help="options of that kind")
    parser.add_argument("--json", action="store_true", help="print the key accounting as JSON")


def run(args: argparse.Namespace) -> int:
    """Convert; every problem is an error."""
    if args.to != "surform" or args.system is None:
        return _between(args)
    from surform.hub.convert import from_official
    from surform.hub.official.accounting import KeyMismatch

    constructor = _read_json(Path(args.constructor)) if args.constructor else None
    options = _parse(args.options, "--options")
    try:
        made = from_official(args.checkpoint, args.system, constructor, args.kind, options)
    except KeyMismatch as error:
        _show_mismatch(error.accounting)
        raise
    made.model.save_pretrained(args.out)
    if args.json:
        sys.stdout.write(json.dumps(vars(made.accounting), indent=2) + "\n")
    else:
        _show(made.accounting, args.out)
    return 0


def _between(args: argparse.Namespace) -> int:
    """A model that `load_model` takes, in another layout."""
    given = [name for name in ("constructor", "kind", "json") if getattr(args, name)]
    if given:
        raise ValueError(
            f"--{given[0]} belongs to official checkpoints: give their --system, and no --to"
        )
    if args.to == "official" and args.system is None:
        raise ValueError("--to official needs --system: surform list official names them")
    from surform.hub.loading import load_model

    model = load_model(args.checkpoint)
    if args.to == "official":
        from surform.hub.convert import to_official

        to_official(model, args.system, args.out)
    elif args.to == "hugging_face":
        from surform.hub.hugging_face import save_hugging_face

        save_hugging_face(model, args.out)
    else:
        model.save_pretrained(args.out)
    sys.stdout.write(f"wrote {args.out}\n")
    return 0


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} with the constructor's arguments")
    values = _parse(path.read_text(), str(path))
    # A golden fixture's header serves as well: it holds the same arguments.
    inner = values.get("constructor")
    return inner if isinstance(inner, dict) and "system" in values else values


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be a JSON object of arguments")
    return values


def _show_mismatch(accounting: Accounting) -> None:
    """Every key that does not fit, on stderr: the one-line error names only the first few."""
    from rich.console import Console
    from rich.table import Table

    table = Table("official key", "problem")
    for key in accounting.missing:
        table.add_row(key, "missing")
    for key in accounting.unknown:
        table.add_row(key, "unknown")
    for key, (found, needed) in accounting.misshapen.items():
        table.add_row(key, f"shape {found}, needed {needed}")
    Console(stderr=True, width=None if sys.stderr.isatty() else 120).print(table)


def _show(accounting: Accounting, out: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if accounting.dropped:
        table = Table("dropped official key", "reason")
        for key, reason in accounting.dropped.items():
            table.add_row(key, reason)
        console.print(table)
    console.print(
        f"{len(accounting.used)} keys used, {len(accounting.dropped)} dropped, 0 missing, 0 unknown"
    )
    console.print(f"wrote {out}", soft_wrap=True)
