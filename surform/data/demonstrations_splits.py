"""Which episodes train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surform.data.demonstrations_source import Demonstrations
from surform.data.faults import closest
from surform.data.images_splits import mixed_order
from surform.data.split_sources import default_split
from surform.data.splits import SPLITS, split_samples

__all__ = ["Amount", "chosen_tasks", "divide_episodes"]

Amount = int | float | str


def divide_episodes(
    source: Demonstrations,
    split: Mapping[str, Amount] | None,
    seed: int,
    among: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Numbers of the episodes of each split, rising; every task has its share in each.

    Args:
        split: "train", "validation", "test" -> a count, a fraction, or all of them the name of a
            mask in the file; None: 10 per cent for validation.
        seed: of the choice.
        among: these episodes only.

    Raises:
        ValueError: splits that overlap or are empty, or masks that are not there.
    """
    among = np.arange(len(source.episodes)) if among is None else among
    if split is None:
        split = default_split(len(among), ["validation"], source.name)
    unknown = sorted(set(split) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}: choose {', '.join(SPLITS)}")
    if "train" not in split:
        raise ValueError(f"split has {', '.join(split) or 'nothing'}, but needs train")
    masks = {name: mask for name, mask in split.items() if isinstance(mask, str)}
    if masks and len(masks) < len(split):
        raise ValueError(f"split {dict(split)} mixes masks and amounts: use one kind")
    if masks:
        return _masked(source, masks, among)
    ranges = split_samples(split, len(among), source.name)  # type: ignore[arg-type]
    tasks = np.unique([source.episodes[n].told for n in among], return_inverse=True)[1]
    order = among[mixed_order(tasks, seed)]
    return {name: np.sort(order[own.start : own.stop]) for name, own in ranges.items()}


def chosen_tasks(source: Demonstrations, tasks: list[str] | None) -> np.ndarray:
    """Numbers of the episodes of some tasks (or instructions); of all for None."""
    told = [{episode.task, episode.instruction} for episode in source.episodes]
    if tasks is None:
        return np.arange(len(told))
    if not tasks:
        raise ValueError("tasks is empty: name some, or leave it out for all")
    known = sorted(set().union(*told) - {""})
    for task in tasks:
        if task not in known:
            raise ValueError(f"{source.name} has no task {task!r}: {closest(task, known)}")
    return np.array([n for n, own in enumerate(told) if own & set(tasks)])


def _masked(
    source: Demonstrations, masks: Mapping[str, str], among: np.ndarray
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for split, mask in masks.items():
        if mask not in source.about.masks:
            raise ValueError(
                f"{source.name} has no mask {mask!r}: {closest(mask, source.about.masks)}"
            )
        own = np.intersect1d(source.about.masks[mask], among)
        if not len(own):
            raise ValueError(f"split {split}: mask {mask} of {source.name} has no such episode")
        for other, numbers in found.items():
            both = np.intersect1d(own, numbers)
            if len(both):
                raise ValueError(
                    f"{source.place(int(both[0]))} is in the masks of both {other} and {split}"
                )
        found[split] = own
    return found
