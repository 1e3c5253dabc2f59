"""The causal transformers that decide, by name."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from surform.decisions.gpt2_backbone import GPT2Backbone
from surform.decisions.key_values import KeyValues
from surform.decisions.relu_backbone import ReLUBackbone
from surform.layers.checks import at_least, one_of

__all__ = ["Backbone", "BackboneName", "make_backbone", "memory_of"]

Backbone = GPT2Backbone | ReLUBackbone
BackboneName = Literal["gpt2", "relu"]


def make_backbone(
    name: str, dim: int, depth: int, heads: int, horizon: int, dropout: float
) -> Backbone:
    """A backbone for `horizon` rounds: 4 (1 + horizon) positions, as published.

    Raises:
        ValueError: sizes that cannot be, or heads and dropout for the ReLU backbone.
    """
    one_of("backbone", name, ("gpt2", "relu"))
    at_least(1, dim=dim, depth=depth, heads=heads, horizon=horizon)
    positions = 4 * (1 + horizon)
    if name == "gpt2":
        return GPT2Backbone(dim, depth, heads, positions, dropout)
    if heads != 1:
        raise ValueError(f"heads is {heads}, but the relu backbone has one head")
    if dropout:
        raise ValueError(f"dropout is {dropout}, but the relu backbone has none")
    return ReLUBackbone(dim, depth, positions)


def memory_of(backbone: Backbone, batch: int, tokens: int, like: Tensor) -> KeyValues:
    """An empty memory for so many tokens.

    Raises:
        ValueError: more tokens than the backbone has positions.
    """
    if tokens > backbone.room:
        raise ValueError(
            f"{tokens} tokens are asked for, but the network has {backbone.room} positions"
        )
    head_dim = backbone.dim // backbone.heads
    return KeyValues(backbone.depth, batch, backbone.heads, tokens, head_dim, like)
