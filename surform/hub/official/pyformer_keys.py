"""Keras's names of PyFormer's arrays and ours: one table of entries, read both ways.

Names are the layer's class, its number among those of its class, and the variable. Keras keeps
linear maps as (in, out), convolutions as (1, columns, components, in, out), queries, keys and
values as (in, heads, head_dim). All entries are linear, so that gradients go the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from surform.hub.official.entries import Entry, joined, keras_attention, same, split

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
        yield same(f"{block}norm.weight", f"{norm}/gamma")
        yield same(f"{block}norm.bias", f"{norm}/beta")
        heads = constructor.get("heads", 4)
        attention = f"MultiHeadAttention_{number}"
        parts, out = [f"{attention}/{part}" for part in _PARTS], f"{attention}/attention_output"
        yield from keras_attention(f"{block}attention", parts, out, heads)
        yield from _pair(f"{block}convolutions", 2 * (levels + number))
    for number, name in enumerate(("hidden", "head")):
        kernel = f"Dense_{number}/kernel"
        yield Entry(f"{name}.weight", (kernel,), lambda x: x[0].t(), lambda w: [w.t()])
        yield same(f"{name}.bias", f"Dense_{number}/bias")


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
        yield same(f"{ours}.{place}.bias", f"{layer}/bias")
