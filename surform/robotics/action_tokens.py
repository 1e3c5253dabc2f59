"""Actions as words of a small vocabulary: the action tokenizer of RT-1, and its loss.

Brohan et al., "RT-1: Robotics Transformer for Real-World Control at Scale", 2022 (arXiv
2212.06817), section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surform.layers.checks import at_least

__all__ = ["PUBLISHED_FIELDS", "ActionTokens", "Field", "action_loss"]

# of the published models; the order in which they were trained is not published: this is the usual
PUBLISHED_FIELDS: tuple[tuple[Any, ...], ...] = (
    ("terminate_episode", 3),
    ("world_vector", 3, -1.0, 1.0),
    ("rotation_delta", 3, -math.pi / 2, math.pi / 2),
    ("gripper_closedness_action", 1, -1.0, 1.0),
    ("base_displacement_vertical_rotation", 1, -math.pi, math.pi),
    ("base_displacement_vector", 2, -1.0, 1.0),
)


@dataclass(frozen=True)
class Field:
    """A part of an action: `size` numbers from `low` to `high`, or, without bounds, a one-hot."""

    name: str
    size: int
    low: float | None = None
    high: float | None = None

    @property
    def discrete(self) -> bool:
        """Whether it is a choice among `size`."""
        return self.low is None

    @property
    def tokens(self) -> int:
        """How many tokens it takes."""
        return 1 if self.discrete else self.size


class ActionTokens:
    """Vectors of actions to tokens and back.

    Numbers are clipped to their bounds and fall into `vocab_size` - 1 equal bins (and the upper
    bound into one of its own); a choice is one token.

    Args:
        fields: (name, size, low, high) of numbers, (name, size) of a choice among `size`, in the
            order of the tokens.
        vocab_size: how many tokens there are.
    """

    def __init__(self, fields: Iterable[Sequence[Any]], vocab_size: int = 256) -> None:
        at_least(2, vocab_size=vocab_size)
        self.fields = tuple(_field(given, vocab_size) for given in fields)
        self.vocab_size = vocab_size
        names = [field.name for field in self.fields]
        if not names:
            raise ValueError("fields is empty, but an action has at least one")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"fields name {twice[0]!r} twice")
        self.count = sum(field.tokens for field in self.fields)
        self.width = sum(field.size for field in self.fields)

    def encode(self, actions: Float[Tensor, "*b w"]) -> Int[Tensor, "*b a"]:
        """Tokens of vectors of actions: fields side by side, choices as one-hot.

        Raises:
            ValueError: vectors of another width, or numbers that are not finite.
        """
        if actions.shape[-1] != self.width:
            raise ValueError(
                f"actions have {actions.shape[-1]} numbers, but the fields "
                f"{', '.join(f.name for f in self.fields)} have {self.width}"
            )
        parts = []
        for field, part in zip(self.fields, self._cut(actions), strict=True):
            if not bool(torch.isfinite(part).all()):
                raise ValueError(f"actions hold a {field.name} that is not finite")
            parts.append(_bins(field, part, self.vocab_size))
        return torch.cat(parts, -1)

    def decode(
        self, tokens: Int[Tensor, "*b a"], dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*b w"]:
        """Vectors of actions; a choice that does not exist becomes the first, as published."""
        if tokens.shape[-1] != self.count:
            raise ValueError(f"an action has {self.count} tokens, not {tokens.shape[-1]}")
        pieces = tokens.split([field.tokens for field in self.fields], -1)
        values = [
            _values(field, piece, self.vocab_size, dtype)
            for field, piece in zip(self.fields, pieces, strict=True)
        ]
        return torch.cat(values, -1)

    def split(self, actions: Float[Tensor, "*b w"]) -> dict[str, Tensor]:
        """Fields by their names, (..., size) each."""
        names = [field.name for field in self.fields]
        return dict(zip(names, self._cut(actions), strict=True))

    def join(self, actions: Mapping[str, Tensor]) -> Float[Tensor, "*b w"]:
        """Fields by their names, (..., size) each, as vectors; ValueError names one that lacks."""
        lacking = [field.name for field in self.fields if field.name not in actions]
        if lacking:
            raise ValueError(
                f"the action lacks {lacking[0]!r}; it has {', '.join(actions) or 'nothing'}"
            )
        floats = [value.dtype for value in actions.values() if value.is_floating_point()]
        dtype = floats[0] if floats else torch.float32
        return torch.cat([actions[field.name].to(dtype) for field in self.fields], -1)

    def _cut(self, actions: Tensor) -> tuple[Tensor, ...]:
        return actions.split([field.size for field in self.fields], -1)


def action_loss(
    logits: Float[Tensor, "b t a v"],
    labels: Int[Tensor, "b t a"],
    *,
    step_tokens: int | None = None,
    last: Bool[Tensor, "b t"] | None = None,
) -> Float[Tensor, "b t"]:
    """Cross-entropy of the tokens of every step, its mean over them.

    Args:
        step_tokens: of image and action together; divides by b * t * step_tokens, as the official
            training did: only an optimiser's eps notices.
        last: steps that end an episode count nothing.
    """
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, but logits {tuple(logits.shape)}: labels "
            "lack the last axis, else they are alike"
        )
    if last is not None and last.shape != labels.shape[:-1]:
        raise ValueError(
            f"last has shape {tuple(last.shape)}, but must be {tuple(labels.shape[:-1])}: one for "
            "each step"
        )
    loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten().long(), reduction="none")
    loss = loss.view(labels.shape).mean(-1)
    if step_tokens is not None:
        loss = loss / (labels.shape[0] * labels.shape[1] * step_tokens)
    return loss if last is None else loss.masked_fill(last, 0.0)


def _field(given: Sequence[Any], vocab_size: int) -> Field:
    if isinstance(given, str) or len(given) not in (2, 4) or not isinstance(given[0], str):
        raise ValueError(
            f"fields holds {given!r}, but each is (name, size, low, high), or (name, size) of a "
            "choice"
        )
    name, size, *bounds = given
    at_least(1, **{f"the size of {name}": size})
    if not bounds:
        if size > vocab_size:
            raise ValueError(f"{name} is a choice among {size}, but there are {vocab_size} tokens")
        return Field(name, size)
    low, high = map(float, bounds)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{name} reaches from {low} to {high}: give finite bounds, lower first")
    return Field(name, size, low, high)


def _bins(field: Field, part: Tensor, vocab_size: int) -> Tensor:
    if field.discrete:
        return part.argmax(-1, keepdim=True)
    part = part if part.is_floating_point() else part.float()
    low, high = part.new_tensor(field.low), part.new_tensor(field.high)
    return ((part.clamp(low, high) - low) / (high - low) * (vocab_size - 1)).long()


def _values(field: Field, tokens: Tensor, vocab_size: int, dtype: torch.dtype) -> Tensor:
    if field.discrete:
        token = tokens[..., 0]
        known = torch.where((token >= 0) & (token < field.size), token, 0)
        return F.one_hot(known.long(), field.size).to(dtype)
    low, high = (torch.tensor(x, dtype=dtype, device=tokens.device) for x in _bounds(field))
    return tokens.to(dtype) / (vocab_size - 1) * (high - low) + low


def _bounds(field: Field) -> tuple[float, float]:
    assert field.low is not None
    assert field.high is not None
    return field.low, field.high
