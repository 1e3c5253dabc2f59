"""Keys of the official decision transformers and our names: one table, read both ways.

GPT-2's maps are kept as (in, out). All entries are linear, so that gradients go the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.entries import Entry, joined, split

__all__ = ["DROPPED", "to_official", "to_ours"]

State = dict[str, Tensor]

DROPPED = {
    "*wte.weight": "the table of words is never looked at: tokens come embedded",
    "*.attn.bias": "a causal mask",
    "*.attn.masked_bias": "a constant of the mask",
}
_PARTS = ("_queries", "_keys", "_values")


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours, as far as it goes."""
    return joined(state, _entries(constructor))


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> official keys."""
    return split(state, _entries(constructor))


def _entries(constructor: dict[str, Any]) -> Iterator[Entry]:
    """All of a network with these official arguments."""
    yield from _same("embed", "embed_transition")
    yield from _same("head", "pred_actions")
    yield _one("backbone.positions", "transformer.wpe.weight")
    relu = constructor.get("act_type") == "relu"
    for number in range(constructor.get("n_layer", 3)):
        block = f"backbone.blocks.{number}."
        yield from (_rectified(block, number) if relu else _gpt2(block, number))
    if not relu:
        yield from _same("backbone.norm", "transformer.ln_f")


def _rectified(block: str, number: int) -> Iterator[Entry]:
    yield Entry(
        f"{block}qkv.weight",
        tuple(f"transformer.{part}.{number}.weight" for part in _PARTS),
        torch.cat,  # type: ignore[arg-type]
        lambda weight: weight.chunk(3),
    )
    for norm in (1, 2):
        yield from _same(f"{block}norm{norm}", f"transformer._lns_{norm}.{number}")
    yield from _same(f"{block}feed_forward.up", f"transformer._mlps.{number}.0")
    yield from _same(f"{block}feed_forward.down", f"transformer._mlps.{number}.2")


def _gpt2(block: str, number: int) -> Iterator[Entry]:
    there = f"transformer.h.{number}."
    for norm in (1, 2):
        yield from _same(f"{block}norm{norm}", f"{there}ln_{norm}")
    for ours, official in (
        ("attention.qkv", "attn.c_attn"),
        ("attention.out", "attn.c_proj"),
        ("feed_forward.up", "mlp.c_fc"),
        ("feed_forward.down", "mlp.c_proj"),
    ):
        yield _one(f"{block}{ours}.weight", f"{there}{official}.weight", Tensor.t)
        yield _one(f"{block}{ours}.bias", f"{there}{official}.bias")


def _same(ours: str, official: str) -> Iterator[Entry]:
    for name in ("weight", "bias"):
        yield _one(f"{ours}.{name}", f"{official}.{name}")


def _one(ours: str, official: str, turn: Callable[[Tensor], Tensor] = lambda x: x) -> Entry:
    """A tensor alone; turned twice it is itself."""
    return Entry(ours, (official,), lambda each: turn(each[0]), lambda x: [turn(x)])
