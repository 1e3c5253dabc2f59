"""The sources and samples of training, validation and test data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from surform.data.faults import is_url
from surform.data.fields import expand_paths
from surform.data.selection import Selection
from surform.data.source import FieldSource
from surform.data.splits import split_samples
from surform.data.units import same_unit

__all__ = ["SplitSources", "default_split", "require_other_files"]


@dataclass(frozen=True)
class SplitSources:
    """Per split a source, whose selection has that split's `target_steps`, and its samples."""

    sources: dict[str, FieldSource]
    samples: dict[str, range]

    @classmethod
    def open(
        cls,
        path: str | list[str],
        selection: Selection,
        split: Mapping[str, int | float] | None,
        separate: Mapping[str, str | list[str] | None],
        evaluation_steps: int | None,
        same_grid: bool,
    ) -> SplitSources:
        """Open and check all files.

        Args:
            path: holds the training samples, and those of every split without its own files.
            selection: the training problem.
            split: counts or fractions of `path`, see `split_samples`.
            separate: files of their own per split, or None.
            evaluation_steps: `target_steps` of validation and test.
            same_grid: whether all splits must lie on one grid (pointwise statistics).

        Raises:
            ValueError: splits that overlap or are given twice, or files that do not fit together.
        """
        own = {name: files for name, files in separate.items() if files is not None}
        both = [name for name in own if split is not None and name in split]
        if both:
            raise ValueError(f"{both[0]} data are given twice: by split and by {both[0]}_path")
        evaluated = replace(selection, target_steps=evaluation_steps)
        main = FieldSource(path, selection)
        if split is None:
            others = [name for name in separate if name not in own]
            split = default_split(main.layout.samples, others, main.name)
        samples = split_samples(split, main.layout.samples, main.name)
        sources = dict.fromkeys(samples, main)
        if evaluated != selection:
            again = main.selecting(evaluated)
            sources |= {name: again for name in samples if name != "train"}
        for name, files in own.items():
            require_other_files(main.paths, expand_paths(files), name)
            sources[name] = FieldSource(files, evaluated)
            _require_same_problem(main, sources[name], same_grid)
            samples[name] = range(sources[name].layout.samples)
        sources.setdefault("train", main)
        return cls(sources, samples)

    def source(self, split: str) -> FieldSource:
        """Where a split's samples are read."""
        self.samples_of(split) if split != "train" else None
        return self.sources[split]

    def samples_of(self, split: str) -> range:
        """The samples of a split; ValueError if there is none."""
        if split not in self.samples:
            there = ", ".join(self.samples)
            raise ValueError(f"there are no {split} data: split gives {there}")
        return self.samples[split]


def default_split(total: int, names: list[str], where: str) -> dict[str, int]:
    """Ten per cent of the samples for each of `names`, at least one; the rest trains."""
    held_out = max(1, round(0.1 * total))
    train = total - held_out * len(names)
    if train < 1:
        raise ValueError(f"{where} has {total} samples, too few for a default split")
    return {"train": train, **dict.fromkeys(names, held_out)}


def require_other_files(training: list[str], files: list[str], name: str) -> None:
    """ValueError when a file is both in `path` and in `<name>_path`."""
    shared = {_identity(path) for path in training} & {_identity(path) for path in files}
    if shared:
        raise ValueError(
            f"the splits overlap: {sorted(shared)[0]} is in both path and {name}_path; use split "
            "to divide one file"
        )


def _identity(path: str) -> str:
    return path if is_url(path) else os.path.realpath(path)


def _require_same_problem(one: FieldSource, other: FieldSource, same_grid: bool) -> None:
    mine, theirs = one.layout, other.layout
    for found, expected in ((theirs.axes, mine.axes), (theirs.target_axes, mine.target_axes)):
        if found != expected:
            raise ValueError(f"{other.name} has the axes {found}, {one.name} has {expected}")
    for found, expected in ((theirs.shape, mine.shape), (theirs.target_shape, mine.target_shape)):
        if same_grid and found != expected:
            raise ValueError(
                f"{other.name} has a grid {found}, {one.name} has {expected}: 'pointwise' "
                "normalisation needs one grid, use 'channel'"
            )
    for name, unit in mine.units.items():
        if not same_unit(unit, theirs.units[name]):
            raise ValueError(
                f"{other.name} gives {name} in {theirs.units[name]!r}, {one.name} in {unit!r}"
            )
    steps = (mine.time_step, theirs.time_step)
    if steps[0] and steps[1] and abs(steps[0] - steps[1]) > 1e-3 * steps[0]:
        raise ValueError(
            f"{other.name} has a time step of {steps[1]:g}, {one.name} of {steps[0]:g}"
        )
