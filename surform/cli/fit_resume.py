"""Which checkpoint a command means, and where it and the command line disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["check_agreement", "disagreements", "find_checkpoint", "run_folder_of"]

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


def find_checkpoint(which: str, folder: Path) -> Path:
    """The file that `--ckpt_path` means: a file, a run folder, or last/best below `folder`.

    Args:
        which: "last", "best", a checkpoint file or a run folder.
        folder: a run folder, or a folder of runs of which the newest one counts.
    """
    if which not in ("last", "best"):
        path = Path(which)
        if path.is_dir():
            return find_checkpoint("last", path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no checkpoint {which}; try --ckpt_path last")
        return path
    found = sorted(folder.rglob(f"checkpoints/{which}.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"there is no {which} checkpoint below {folder}")
    return found[-1]


def run_folder_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to."""
    parent = checkpoint.parent
    return parent.parent if parent.name == "checkpoints" else parent


def check_agreement(
    stored: dict[str, Any], given: dict[str, Any], sections: tuple[str, ...]
) -> None:
    """ValueError with both values when a run would not continue as its checkpoint says."""
    found = disagreements(stored, given, sections)
    if not found:
        return
    name, old, new = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise ValueError(
        f"{name.replace('.init_args', '')} is {old!r} in the checkpoint but {new!r} on the "
        f"command line{more}: leave it out to go on as before, or add --override to change it"
    )


def disagreements(
    stored: dict[str, Any], given: dict[str, Any], sections: tuple[str, ...]
) -> list[tuple[str, Any, Any]]:
    """(option, stored value, given value) of everything that differs and matters."""
    old, new = (
        _flat({s: stored.get(s) for s in sections}),
        _flat({s: given.get(s) for s in sections}),
    )
    names = [n for n in dict.fromkeys([*new, *old]) if not n.startswith(_FREE)]
    return [(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict) or not node:
        return {prefix: list(node) if isinstance(node, tuple) else node}
    flat = {}
    for name, value in node.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return flat
