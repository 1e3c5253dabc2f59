"""The transformer of RT-1: tokens of frames in, logits of the tokens of actions out.

Brohan et al., "RT-1: Robotics Transformer for Real-World Control at Scale", 2022 (arXiv
2212.06817). A step is the tokens of an image, then slots for those of an action. The slots are
empty in the official network, in training too: what was done never enters, and so one pass gives
all tokens of an action, where the official code makes a pass for each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from surform.layers.attends import Softmax
from surform.layers.checks import at_least, fraction
from surform.layers.dropout import Dropout
from surform.layers.multihead import SelfAttention, merge_heads, split_heads

__all__ = ["ActionTransformer"]


class ActionTransformer(nn.Module):
    """Tokens of frames (b, t, n, token_dim), t up to `frames` -> logits.

    Args:
        frames: the longest history [steps].
        image_tokens, action_tokens: of a step.
        vocab_size: how many tokens of actions there are.
        token_dim: width of the frames' tokens.
        dim, depth, heads: width, number of layers, heads.
        head_dim: width of each head.
        dropout: of the attention's weights and of each layer's linear map.
        feed: actions enter: every slot holds the token of its part of the action, and sees all that
            is before it. Without, as published, slots are empty and see no others.
    """

    keep: Tensor

    def __init__(
        self,
        frames: int,
        image_tokens: int,
        action_tokens: int,
        vocab_size: int,
        token_dim: int,
        dim: int,
        depth: int,
        heads: int,
        head_dim: int,
        dropout: float = 0.1,
        feed: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, frames=frames, image_tokens=image_tokens, action_tokens=action_tokens)
        at_least(1, token_dim=token_dim, dim=dim, depth=depth, heads=heads, head_dim=head_dim)
        fraction(dropout=dropout)
        self.frames, self.image_tokens, self.action_tokens = frames, image_tokens, action_tokens
        self.token_dim, self.step_tokens = token_dim, image_tokens + action_tokens
        self.feed = feed
        self.embed = nn.Linear(token_dim, dim)
        self.actions = nn.Embedding(vocab_size, token_dim) if feed else None
        self.positions = nn.Parameter(torch.empty(frames * self.step_tokens, dim))
        self.position_bias = nn.Parameter(torch.zeros(dim))
        nn.init.xavier_uniform_(self.positions)
        self.blocks = nn.ModuleList(_Block(dim, heads, head_dim, dropout) for _ in range(depth))
        self.head = nn.Linear(dim, vocab_size)
        self.register_buffer("keep", self._mask(), persistent=False)

    def forward(
        self, tokens: Float[Tensor, "b t n d"], actions: Int[Tensor, "b t a"] | None = None
    ) -> Float[Tensor, "b p v"]:
        """Logits at all positions, p = t * (image_tokens + action_tokens).

        The one for an action's token comes from the position before it.

        Args:
            actions: the tokens of all steps' actions; where they are fed, and only there.
        """
        x = self.sequence(tokens, actions)
        mask = self.keep[: x.shape[1], : x.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return self.head(x)

    def action_logits(
        self, tokens: Float[Tensor, "b t n d"], actions: Int[Tensor, "b t a"] | None = None
    ) -> Float[Tensor, "b t a v"]:
        """Logits of the tokens of all steps' actions; `actions` as for `forward`."""
        return self.read(self(tokens, actions))

    def next_logits(
        self, tokens: Float[Tensor, "b t n d"], past: Int[Tensor, "b p a"]
    ) -> Float[Tensor, "b a v"]:
        """Logits of the last step's action where actions are fed: a pass for each of its tokens.

        Args:
            past: tokens of the actions of the steps before, p = t - 1; each token of the last
                action is the likeliest after those before it.
        """
        newest = past.new_zeros(len(tokens), 1, self.action_tokens)
        logits = []
        for place in range(self.action_tokens):  # later slots hold 0, and are not seen yet
            found = self.action_logits(tokens, torch.cat((past, newest), 1))[:, -1, place]
            logits.append(found)
            newest = newest.clone()
            newest[:, 0, place] = found.argmax(-1)
        return torch.stack(logits, 1)

    def read(self, logits: Float[Tensor, "b p v"]) -> Float[Tensor, "b t a v"]:
        """Those of actions' tokens among the logits of all positions."""
        steps = logits.unflatten(1, (-1, self.step_tokens))
        return steps[:, :, self.image_tokens - 1 : -1]

    def last(self, tokens: Float[Tensor, "b t n d"]) -> Float[Tensor, "b a v"]:
        """Logits of the last step's action: `action_logits(tokens)[:, -1]` from less work."""
        x = self.sequence(tokens)[:, :-1]  # nothing sees the last slot
        size, wanted = x.shape[1], slice(x.shape[1] - self.action_tokens, x.shape[1])
        mask = self.keep[:size, :size]
        *others, final = self.blocks
        for block in others:
            x = block(x, mask)
        return self.head(final(x, mask[wanted], wanted))  # type: ignore[operator]

    def sequence(
        self, tokens: Float[Tensor, "b t n d"], actions: Int[Tensor, "b t a"] | None = None
    ) -> Float[Tensor, "b p c"]:
        """The first layer's input; ValueError for tokens of another shape, or without actions."""
        expected = (self.image_tokens, self.token_dim)
        if tokens.ndim != 4 or tuple(tokens.shape[2:]) != expected:
            raise ValueError(
                f"tokens of frames have shape {tuple(tokens.shape)}, but must be (batch, steps, "
                f"{expected[0]}, {expected[1]})"
            )
        batch, steps = tokens.shape[:2]
        if not 1 <= steps <= self.frames:
            raise ValueError(f"there are {steps} frames, but must be 1 to {self.frames}")
        x = self.embed(tokens)
        x = torch.cat((x, self._slots(x, actions, (batch, steps, self.action_tokens))), 2)
        x = x.flatten(1, 2)
        return x + (self.positions[: x.shape[1]] + self.position_bias)

    def _slots(self, x: Tensor, actions: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        """What stands in the slots of actions."""
        if (actions is not None) != self.feed:
            raise ValueError(
                "actions are fed (feed_action_tokens): give their tokens, too"
                if self.feed
                else "actions are given, but never enter: feed_action_tokens is False"
            )
        if self.actions is None or actions is None:
            return self.embed.bias.to(x.dtype).expand(*shape, -1)
        if tuple(actions.shape) != shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, but must be {shape}")
        return self.embed(self.actions(actions))

    def _mask(self) -> Tensor:
        """(query, key): the past, but, as published, no slot of an action for another."""
        if self.feed:
            size = self.frames * self.step_tokens
            return torch.ones(size, size, dtype=torch.bool).tril()
        slot = torch.arange(self.step_tokens) >= self.image_tokens
        slots = slot.repeat(self.frames)
        return torch.ones(len(slots), len(slots), dtype=torch.bool).tril() & ~(
            slots[:, None] & slots
        )


class _Block(nn.Module):
    """x + attention(norm1(x)), then x + dropout(linear(norm2(x))): no activation, as published."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attention = _Attention(dim, heads, head_dim, dropout)
        self.linear, self.dropout = nn.Linear(dim, dim), Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b p c"], mask: Bool[Tensor, "q k"], wanted: slice | None = None
    ) -> Float[Tensor, "b q c"]:
        """wanted: the positions that are asked for; None: all."""
        attended = self.attention.of(self.norm1(x), mask, wanted)
        x = attended + (x if wanted is None else x[:, wanted])
        return x + self.dropout(self.linear(self.norm2(x)))


class _Attention(SelfAttention):
    """Heads of a width of their own, under a mask, for all positions or for some."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__(dim, heads, Softmax(dropout), head_dim=head_dim)

    def of(self, x: Tensor, mask: Tensor, wanted: slice | None) -> Tensor:
        if wanted is None:
            return self(x, mask=mask[None, None])
        inner = self.out.in_features
        weight, bias = self.qkv.weight, self.qkv.bias
        (q,) = split_heads(F.linear(x[:, wanted], weight[:inner], bias[:inner]), 1, self.heads)
        k, v = split_heads(F.linear(x, weight[inner:], bias[inner:]), 2, self.heads)
        return self.out(merge_heads(self.attend(q, k, v, mask=mask[None, None])))
