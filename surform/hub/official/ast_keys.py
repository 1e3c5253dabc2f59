"""Parameter names of AST: official and transformers' <-> ours. One table each, read both ways.

transformers keeps queries, keys and values apart; they are one map here.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from surform.hub.official.entries import Entry
from surform.hub.official.renaming import Renaming

__all__ = ["OFFICIAL", "hugging_face_entries"]

OFFICIAL = Renaming(
    (
        ("v.cls_token", "class_token"),
        ("v.dist_token", "distillation_token"),
        ("v.pos_embed", "positions"),
        ("v.patch_embed.proj.", "patch."),
        ("v.blocks.#.attn.qkv.", "blocks.#.attention.qkv."),
        ("v.blocks.#.attn.proj.", "blocks.#.attention.out."),
        ("v.blocks.#.mlp.fc1.", "blocks.#.feed_forward.up."),
        ("v.blocks.#.mlp.fc2.", "blocks.#.feed_forward.down."),
        ("v.blocks.#.norm", "blocks.#.norm"),
        ("v.norm.", "norm."),
        ("mlp_head.0.", "head_norm."),
        ("mlp_head.1.", "head."),
    )
)
_ROOT = (
    ("class_token", "embeddings.cls_token"),
    ("distillation_token", "embeddings.distillation_token"),
    ("positions", "embeddings.position_embeddings"),
    ("patch", "embeddings.patch_embeddings.projection"),
    ("norm", "layernorm"),
)
_BLOCK = (
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("attention.out", "attention.output.dense"),
    ("feed_forward.up", "intermediate.dense"),
    ("feed_forward.down", "output.dense"),
)
_PARTS = ("query", "key", "value")


def hugging_face_entries(depth: int, ours: str = "", theirs: str = "") -> Iterator[Entry]:
    """The encoder of transformers' ASTModel, as its files name it.

    Args:
        depth: blocks.
        ours, theirs: what precedes the names.
    """
    for mine, other in _ROOT:
        whole = mine.endswith(("token", "positions"))
        yield from _one(ours + mine, theirs + other, ("",) if whole else (".weight", ".bias"))
    for number in range(depth):
        block, layer = f"{ours}blocks.{number}.", f"{theirs}encoder.layer.{number}."
        for mine, other in _BLOCK:
            yield from _one(block + mine, layer + other)
        for end in ("weight", "bias"):
            parts = tuple(f"{layer}attention.attention.{part}.{end}" for part in _PARTS)
            yield Entry(f"{block}attention.qkv.{end}", parts, _joined, lambda whole: whole.chunk(3))


def _one(ours: str, theirs: str, ends: tuple[str, ...] = (".weight", ".bias")) -> Iterator[Entry]:
    for end in ends:
        yield Entry(ours + end, (theirs + end,), lambda one: one[0], lambda one: [one])


def _joined(parts: object) -> Tensor:
    return torch.cat(tuple(parts))  # type: ignore[arg-type]
