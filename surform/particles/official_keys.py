"""Keys of the official JetFormer and our names: one table, read both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.entries import Entry, joined, split

__all__ = ["DROPPED", "NORMS", "norm_kind", "to_official", "to_ours", "without_norms"]

State = dict[str, Tensor]

DROPPED = {"*.pre_exp_norm.*": "a norm over the scores that the official code never applies"}
NORMS = {"Batch": "batch", "Layer": "layer"}

_AFFINE = ("weight", "bias")
_TENSORS = {
    "batch": (*_AFFINE, "running_mean", "running_var", "num_batches_tracked"),
    "layer": _AFFINE,
    "none": (),
}
_BLOCK_NORMS = {"norm": "self_attention.norm", "norm1": "norm_0", "norm2": "norm_1"}


def norm_kind(constructor: dict[str, Any]) -> str:
    """Our word for the norms; any other official word applies none."""
    return NORMS.get(constructor.get("normalization", "Batch"), "none")


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours, as far as it goes."""
    return joined(state, _entries(constructor))


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> official keys."""
    return split(state, _entries(constructor))


def without_norms(state: State, constructor: dict[str, Any]) -> dict[str, str]:
    """Norms that are there and never applied, where the constructor asks for neither kind."""
    if norm_kind(constructor) != "none":
        return {}
    return dict.fromkeys(
        (key for key in state if "norm" in key), "this network applies none of its norms"
    )


def _entries(constructor: dict[str, Any]) -> Iterator[Entry]:
    tensors = _TENSORS[norm_kind(constructor)]
    yield _one("cls_token", "cls_token")
    yield from _same("embedding", "embedding", _AFFINE)
    for number in range(constructor.get("num_transformers", 4)):
        ours, theirs = f"blocks.{number}.", f"transformers.{number}."
        yield Entry(
            f"{ours}qkv.weight",
            tuple(f"{theirs}self_attention.{part}.weight" for part in "qkv"),
            torch.cat,  # type: ignore[arg-type]
            lambda weight: weight.chunk(3),
        )
        yield from _same(f"{ours}out", f"{theirs}self_attention.out", _AFFINE)
        yield _one(f"{ours}up.weight", f"{theirs}linear_0.weight")
        yield _one(f"{ours}down.weight", f"{theirs}linear_1.weight")
        for own, official in _BLOCK_NORMS.items():
            yield from _same(ours + own, theirs + official, tensors)
    yield from _same("norm", "norm", tensors)
    yield from _same("head", "linear", _AFFINE)


def _same(ours: str, official: str, tensors: tuple[str, ...]) -> Iterator[Entry]:
    for name in tensors:
        yield _one(f"{ours}.{name}", f"{official}.{name}")


def _one(ours: str, official: str) -> Entry:
    return Entry(ours, (official,), lambda each: each[0], lambda x: [x])
