"""Names of Fastformer's official parameters, and ours; both ways by one list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from surform.hub.official.entries import Entry, joined, same, split

__all__ = ["attention_to_official", "attention_to_ours", "to_official", "to_ours"]

State = dict[str, Tensor]
_AFFINE = ("weight", "bias")
_SAME = (("query_scores", "query_att"), ("key_scores", "key_att"), ("transform", "transform"))
_LAYER = (  # ours, official, inside one layer
    ("attention.out", "attention.output.dense"),
    ("norm1", "attention.output.LayerNorm"),
    ("feed_forward.up", "intermediate.dense"),
    ("feed_forward.down", "output.dense"),
    ("norm2", "output.LayerNorm"),
)


def to_ours(state: State, depth: int) -> State:
    """Official parameters of an encoder under our names."""
    return joined(state, _encoder(depth))


def to_official(state: State, depth: int) -> State:
    """Our parameters of an encoder, or gradients under our names, under the official names."""
    return split(state, _encoder(depth))


def attention_to_ours(state: State) -> State:
    """Likewise of one attention alone."""
    return joined(state, _attention("", ""))


def attention_to_official(state: State) -> State:
    """Likewise of one attention alone."""
    return split(state, _attention("", ""))


def _encoder(depth: int) -> Iterator[Entry]:
    yield same("positions.weight", "position_embeddings.weight")
    pairs = [("norm", "LayerNorm")]
    pairs += [("pool.hidden", "poolers.0.att_fc1"), ("pool.score", "poolers.0.att_fc2")]
    for i in range(depth):
        ours, official = f"layers.{i}.", f"encoders.{i}."
        pairs += [(ours + mine, official + theirs) for mine, theirs in _LAYER]
        yield from _attention(f"{ours}attention.mixing.", f"{official}attention.self.")
    yield from _affine(pairs)


def _attention(ours: str, official: str) -> Iterator[Entry]:
    yield from _affine([(ours + mine, official + theirs) for mine, theirs in _SAME])
    for part in _AFFINE:
        names = (f"{official}query.{part}", f"{official}key.{part}")
        yield Entry(f"{ours}query_key.{part}", names, _stacked, lambda x: x.chunk(2))


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts))


def _affine(pairs: list[tuple[str, str]]) -> Iterator[Entry]:
    for ours, official in pairs:
        for part in _AFFINE:
            yield same(f"{ours}.{part}", f"{official}.{part}")
