"""Tensors that are made of several official ones: one table of entries, read both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Entry", "joined", "keras_attention", "same", "split"]

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


def same(ours: str, official: str) -> Entry:
    """A tensor that is as it is there."""
    return Entry(ours, (official,), lambda each: each[0], lambda x: [x])


def keras_attention(ours: str, parts: Sequence[str], out: str, heads: int) -> Iterator[Entry]:
    """Maps of an attention, `qkv` and `out`, of Keras's (in, heads, head_dim) and (heads, head_dim,
    out).

    Args:
        parts: official names of the query, the key and the value; out: of the last map.
    """
    yield Entry(
        f"{ours}.qkv.weight",
        tuple(f"{part}/kernel" for part in parts),
        lambda each: torch.cat([x.flatten(1).t() for x in each]),
        lambda w: [x.t().unflatten(1, (heads, -1)) for x in w.chunk(3)],
    )
    yield Entry(
        f"{ours}.qkv.bias",
        tuple(f"{part}/bias" for part in parts),
        lambda each: torch.cat([x.flatten() for x in each]),
        lambda b: [x.unflatten(0, (heads, -1)) for x in b.chunk(3)],
    )
    yield Entry(
        f"{ours}.out.weight",
        (f"{out}/kernel",),
        lambda each: each[0].flatten(0, 1).t(),
        lambda w: [w.t().unflatten(0, (heads, -1))],
    )
    yield same(f"{ours}.out.bias", f"{out}/bias")
