"""Keras's names of PyFormer's arrays and ours: one table of entries, read both ways.

Names are the layer's class, its number among those of its class, and the variable. Keras keeps
linear maps as (in, out), convolutions as (1, columns, components, in, out), queries, keys and
values as (in, heads, head_dim). All entries are linear, so that gradients go the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.entries import Entry, joined, split

__all__ = ["to_official", "to_ours"]

State = dict[str, Tensor]
_PARTS = ("query", "key", "value")


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official arrays -> our state dict, as far as it goes."""
    return joined(state, _entries(constructor))


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> official names."""
    return split(state, _entries(constructor))


def _entries(constructor: dict[str, Any]) -> Iterator[Entry]:
    levels, depth = constructor.get("levels", 2), constructor.get("layers", 2)
    for number in range(levels):
        yield from _pair(f"pyramid.{number}", 2 * number)
    for number in range(depth):
        block = f"blocks.{number}."
        norm = f"LayerNormalization_{number}"
        yield _one(f"{block}norm.weight", f"{norm}/gamma")
        yield _one(f"{block}norm.bias", f"{norm}/beta")
        heads = constructor.get("heads", 4)
        yield from _attention(f"{block}attention", f"MultiHeadAttention_{number}", heads)
        yield from _pair(f"{block}convolutions", 2 * (levels + number))
    for number, name in enumerate(("hidden", "head")):
        kernel = f"Dense_{number}/kernel"
        yield Entry(f"{name}.weight", (kernel,), lambda x: x[0].t(), lambda w: [w.t()])
        yield _one(f"{name}.bias", f"Dense_{number}/bias")


def _pair(ours: str, first: int) -> Iterator[Entry]:
    """Two convolutions, the first of which has this number."""
    for place in (0, 1):
        layer = f"Conv3D_{first + place}"
        yield Entry(
            f"{ours}.{place}.weight",
            (f"{layer}/kernel",),
            lambda each: each[0][0].permute(3, 2, 0, 1),
            lambda w: [w.permute(2, 3, 1, 0)[None]],
        )
        yield _one(f"{ours}.{place}.bias", f"{layer}/bias")


def _attention(ours: str, official: str, heads: int) -> Iterator[Entry]:
    yield Entry(
        f"{ours}.qkv.weight",
        tuple(f"{official}/{part}/kernel" for part in _PARTS),
        lambda each: torch.cat([x.flatten(1).t() for x in each]),
        lambda w: [x.t().unflatten(1, (heads, -1)) for x in w.chunk(3)],
    )
    yield Entry(
        f"{ours}.qkv.bias",
        tuple(f"{official}/{part}/bias" for part in _PARTS),
        lambda each: torch.cat([x.flatten() for x in each]),
        lambda b: [x.unflatten(0, (heads, -1)) for x in b.chunk(3)],
    )
    yield Entry(
        f"{ours}.out.weight",
        (f"{official}/attention_output/kernel",),
        lambda each: each[0].flatten(0, 1).t(),
        lambda w: [w.t().unflatten(0, (heads, -1))],
    )
    yield _one(f"{ours}.out.bias", f"{official}/attention_output/bias")


def _one(ours: str, official: str) -> Entry:
    return Entry(ours, (official,), lambda each: each[0], lambda x: [x])
