"""Tensors that are made of several official ones: one table of entries, read both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Entry", "joined", "split"]

State = dict[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """One of our tensors and the official ones that it is made of, by linear maps."""

    ours: str
    official: tuple[str, ...]
    join: Callable[[Sequence[Tensor]], Tensor]
    split: Callable[[Tensor], Sequence[Tensor]]


def joined(state: State, entries: Iterable[Entry]) -> State:
    """Official state dict -> ours, as far as it goes."""
    return {
        entry.ours: entry.join([state[key] for key in entry.official])
        for entry in entries
        if all(key in state for key in entry.official)
    }


def split(state: State, entries: Iterable[Entry]) -> State:
    """Our state dict (or gradients under our names) -> official names."""
    found: State = {}
    for entry in entries:
        if entry.ours in state:
            found |= dict(zip(entry.official, entry.split(state[entry.ours]), strict=True))
    return found
