"""Which checkpoint a command means, and where it and the command line disagree."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from surform.registry import names

__all__ = [
    "check_agreement",
    "check_classes",
    "check_split",
    "disagreements",
    "find_checkpoint",
    "moved_data",
    "option_values",
    "options",
    "run_folder_of",
]

_KINDS = ("models", "tasks", "data", "losses")

# Options that change how fast or where a run goes on, not what it computes.
_FREE = (
    "trainer.accelerator",
    "trainer.barebones",
    "trainer.benchmark",
    "trainer.callbacks",
    "trainer.check_val_every_n_epoch",
    "trainer.default_root_dir",
    "trainer.detect_anomaly",
    "trainer.devices",
    "trainer.enable_",
    "trainer.fast_dev_run",
    "trainer.inference_mode",
    "trainer.limit_predict_batches",
    "trainer.limit_test_batches",
    "trainer.limit_val_batches",
    "trainer.log_every_n_steps",
    "trainer.logger",
    "trainer.max_time",
    "trainer.num_nodes",
    "trainer.num_sanity_val_steps",
    "trainer.plugins",
    "trainer.profiler",
    "trainer.strategy",
    "trainer.val_check_interval",
    "model.init_args.compile",
    "data.init_args.workers",
    "data.init_args.eval_batch_size",
)

# What a stored configuration may name without the user's word, besides what is registered.
_TRUSTED = ("surform.", "torch.optim.", "lightning.pytorch.")
# Options whose plain text value may stand for a class.
_CLASSES = (
    *("class_path", "model", "data", "net", "loss", "optimizer", "schedule", "callbacks"),
    *("logger", "strategy", "plugins", "profiler", "accelerator"),
)


def check_classes(stored: Any, given: Any, checkpoint: Path) -> None:
    """ValueError when a checkpoint's configuration asks for a class that nobody vouches for.

    Importing a module executes it, and a file must not choose what this process executes: classes
    of surform, of torch.optim and of Lightning, registered classes, and classes that the user
    names on the command line or in a configuration file are allowed.

    Args:
        stored: configuration that the checkpoint holds.
        given: configuration that the user gave.
    """
    registered = {path.replace(":", ".") for kind in _KINDS for path in names(kind).values()}
    allowed = registered | set(_class_paths(given))
    for path in _class_paths(stored):
        if path not in allowed and not path.startswith(_TRUSTED):
            raise ValueError(
                f"{checkpoint} asks for the class {path}, which is not registered and is not "
                "imported for safety: name it, with --config or an option like --model.net"
            )


def _class_paths(node: Any, key: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _class_paths(value, name)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _class_paths(item, key)
    elif isinstance(node, str) and key in _CLASSES and "." in node:
        yield node


def find_checkpoint(
    which: str, folder: Path, where: str = "**/checkpoints", of_run: str = "last"
) -> Path:
    """The file that `--ckpt_path` means: a file, a run folder, or last/best below `folder`.

    Args:
        which: "last", "best", a checkpoint file or a run folder.
        folder: a run folder, or a folder of runs of which the newest one counts.
        where: pattern of the folders of checkpoints below it.
        of_run: which one is meant where a run folder is named: to go on from, or to evaluate.
    """
    if not which:  # a variable of the shell that is not set; Path("") would be this folder
        raise ValueError("--ckpt_path is empty: give last, best, a checkpoint file or a run folder")
    if which not in ("last", "best"):
        path = Path(which)
        if path.is_dir():
            if not any(path.glob("**/checkpoints/*.ckpt")):
                raise FileNotFoundError(
                    f"{which} holds no checkpoint: it is no run of surform fit, or one that ended "
                    f"before its first; train first, with surform fit ... --out {which}"
                )
            found = [*path.glob("**/checkpoints/best.ckpt")] if of_run == "best" else []
            return find_checkpoint("best" if found else "last", path)
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no checkpoint {which}, and no run of that name: surform fit makes runs; "
                "--ckpt_path last is the newest below runs"
            )
        return path
    found = sorted(folder.glob(f"{where}/{which}.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"there is no {which} checkpoint below {folder}")
    return found[-1]


def run_folder_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to."""
    parent = checkpoint.parent
    return parent.parent if parent.name == "checkpoints" else parent


def check_agreement(
    stored: dict[str, Any],
    given: dict[str, Any],
    sections: tuple[str, ...],
    asked: Collection[str] = (),
) -> None:
    """ValueError with both values when a run would not continue as its checkpoint says."""
    found = disagreements(stored, given, sections, asked)
    if not found:
        return
    name, old, new = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise ValueError(
        f"{name.replace('.init_args', '')} is {old!r} in the checkpoint but {new!r} on the "
        f"command line{more}: leave it out to go on as before, or add --override to change it"
    )


def disagreements(
    stored: dict[str, Any],
    given: dict[str, Any],
    sections: tuple[str, ...],
    asked: Collection[str] = (),
) -> list[tuple[str, Any, Any]]:
    """(option, stored value, given value) of everything that differs and matters.

    Args:
        asked: what the user gave (see `options`). An option that the checkpoint does not know and
            nobody asked for is a default of a newer version.
    """
    old, new = (
        _flat({s: stored.get(s) for s in sections}),
        _flat({s: given.get(s) for s in sections}),
    )
    known = [n for n in new if n in old or n.replace(".init_args", "") in asked]
    compared = [n for n in dict.fromkeys([*known, *old]) if not n.startswith(_FREE)]
    return [(n, old.get(n), new.get(n)) for n in compared if old.get(n) != new.get(n)]


def moved_data(
    stored: dict[str, Any], given: dict[str, Any], names: tuple[str, ...]
) -> list[tuple[str, Any, Any]]:
    """(option, stored value, given value) of options of the data that training settled."""
    old, new = (((c.get("data") or {}).get("init_args") or {}) for c in (stored, given))
    return [(f"data.{n}", old[n], new.get(n)) for n in names if n in old and old[n] != new.get(n)]


def check_split(stored: dict[str, Any], given: dict[str, Any], override: bool) -> str:
    """What to say of figures on another split than that of training; "" where it is the same.

    Raises:
        ValueError: it is another one, and nobody insists: the model may know its rows.
    """
    moved = moved_data(stored, given, ("split",))
    if not moved:
        return ""
    name, old, new = moved[0]
    if not override:
        raise ValueError(
            f"{name} is {old!r} in the run but {new!r} on the command line, so that rows which "
            "were trained on might be evaluated: leave it out, or add --override for figures that "
            "say so"
        )
    return "The split is not that of training: rows that were trained on may be among these."


def options(layers: list[dict[str, Any]]) -> set[str]:
    """The options that configurations name, as on the command line."""
    return {name for layer in layers for name in option_values(layer)}


def option_values(config: dict[str, Any]) -> dict[str, Any]:
    """What a configuration says, option by option, named as on the command line."""
    return {name.replace(".init_args", ""): value for name, value in _flat(config).items()}


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        return {prefix: list(node) if isinstance(node, tuple) else node}
    flat = {}
    for name, value in node.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat
