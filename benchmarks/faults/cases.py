"""The commands that write: their lines, what they leave, and how one goes on after a stop."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.forked import ask
from benchmarks.faults.samples import FLOW
from benchmarks.faults.states import (
    array_difference,
    checkpoint_differences,
    tree,
    unreadable_checkpoint,
)

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """A command that runs in a folder beside that of the inputs.

    Attributes:
        line: its words.
        outputs: names that it writes, which are whole or not there at any moment.
        earlier: a line that leaves another result under the same names, which it may replace.
        again: the words after a stop, as the documentation has them; the same by default.
        damage: what is wrong with outputs that are not the whole ones; "" for nothing.
        differs: how a folder's result differs from that of an undisturbed run; "" for nowhere.
    """

    line: list[str]
    outputs: tuple[str, ...]
    earlier: list[str] | None = None
    again: Callable[[Path, list[str]], list[str]] = lambda folder, line: line
    damage: Callable[[Path, Path, Path | None], str] | None = None
    differs: Callable[[Path, Path], str] | None = None

    @property
    def command(self) -> str:
        """The command's name."""
        return self.line[0]

    def line_again(self, folder: Path) -> list[str]:
        """The words of the command after a stop."""
        return self.again(folder, self.line)

    def damaged(self, folder: Path, whole: Path, earlier: Path | None = None) -> str:
        """What is wrong with what stands under final names; "" for nothing."""
        if self.damage is not None:
            return self.damage(folder, whole, earlier)
        for name in self.outputs:
            found = tree(folder / name)
            right = [tree(place / name) for place in (whole, earlier) if place is not None]
            if (folder / name).exists() and found not in right:
                return f"{name} is neither the new result nor the earlier one"
            if earlier is not None and not (folder / name).exists():
                return f"{name}, the earlier result, is gone"
        return ""

    def difference(self, folder: Path, whole: Path) -> str:
        """How the finished result differs from that of an undisturbed run; "" for nowhere."""
        if self.differs is not None:
            return self.differs(folder, whole)
        for name in self.outputs:
            if tree(folder / name) != tree(whole / name):
                return f"{name} differs from that of an undisturbed run"
        return ""


def _fit_again(folder: Path, line: list[str]) -> list[str]:
    for name in ("last", "best"):
        if (folder / f"run/checkpoints/{name}.ckpt").exists():
            return [*line, "--ckpt_path", name]
    return line


def _fit_damage(folder: Path, whole: Path, earlier: Path | None) -> str:
    """Checkpoints can be read, tables and texts are whole, the model is the right one."""
    run = folder / "run"
    said = ask(unreadable_checkpoint, sorted(run.glob("checkpoints/*.ckpt")))
    if said:
        return said
    if tree(run / "model") not in ({}, tree(whole / "run/model")):
        return "run/model is not that of an undisturbed run"
    for path in run.glob("*.json"):
        try:
            json.loads(path.read_text())
        except ValueError as error:
            return f"{path.name}: {error}"
    return _table_damage(run / "metrics.csv")


def _table_damage(path: Path) -> str:
    if not path.exists():
        return ""
    rows = list(csv.reader(path.read_text().splitlines()))
    cut = not path.read_text().endswith("\n") or any(len(row) != len(rows[0]) for row in rows)
    return f"{path.name} has a row that is cut" if cut else ""


def _fit_differs(folder: Path, whole: Path) -> str:
    for name in ("last.ckpt", "best.ckpt"):
        pair = (place / "run/checkpoints" / name for place in (folder, whole))
        found = ask(checkpoint_differences, *pair)
        if found:
            return f"{name} differs in {', '.join(found[:3])}"
    for name in ("model/model.safetensors", "metrics.csv"):
        if tree(folder / "run" / name) != tree(whole / "run" / name):
            return f"{name} differs from that of an undisturbed run"
    return ""


def _hdf5_damage(folder: Path, whole: Path, earlier: Path | None) -> str:
    return _hdf5_differs(folder, whole) if (folder / "flow.h5").exists() else ""


def _hdf5_differs(folder: Path, whole: Path) -> str:
    found = ask(array_difference, folder / "flow.h5", whole / "flow.h5")
    return f"flow.h5 differs in {found}" if found else ""


_GENERATE = ["generate", "kolmogorov", "--samples", "8", "--batch", "1", "--seed", "5", *FLOW]
_ROLLOUT = ["rollout", "../inputs/run", "--data", "../inputs/flow.zarr", "--out", "rolled.zarr"]
_CONVERT = ["convert", "--system", "galerkin", "--constructor", "../inputs/arguments.json"]

CASES: dict[str, Case] = {
    "generate": Case([*_GENERATE, "--out", "flow.zarr"], ("flow.zarr",)),
    "generate-hdf5": Case(
        [*_GENERATE, "--out", "flow.h5"],
        ("flow.h5",),
        damage=_hdf5_damage,
        differs=_hdf5_differs,
    ),
    "fit": Case(
        ["fit", "--config", "../inputs/recipe.yaml", "--out", "run", "--every_n_steps", "1"]
        + ["--no_report"],
        ("run",),
        again=_fit_again,
        damage=_fit_damage,
        differs=_fit_differs,
    ),
    "rollout": Case(
        [*_ROLLOUT, "--steps", "10", "--statistics", "figures.json"],
        ("rolled.zarr", "figures.json"),
        earlier=[*_ROLLOUT, "--steps", "4", "--statistics", "figures.json"],
    ),
    "convert": Case(
        [*_CONVERT, "../inputs/official.pt", "converted"],
        ("converted",),
        earlier=[*_CONVERT, "../inputs/earlier.pt", "converted"],
    ),
    "predict": Case(
        ["predict", "--ckpt_path", "../inputs/run", "--out", "predicted.zarr"],
        ("predicted.zarr",),
    ),
}
