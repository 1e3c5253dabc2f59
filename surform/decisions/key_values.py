"""Keys and values of the tokens so far, so that a new token costs one token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor

__all__ = ["KeyValues", "Remember"]

# keys and values of new tokens -> those of all tokens
Remember = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class KeyValues:
    """The memory of a causal transformer while it acts; filled in place.

    Args:
        depth: layers.
        batch, heads, head_dim: of keys and values, (batch, heads, tokens, head_dim).
        room: the most tokens.
        like: a tensor of their dtype and device.
    """

    def __init__(
        self, depth: int, batch: int, heads: int, room: int, head_dim: int, like: Tensor
    ) -> None:
        self._keys = like.new_empty(depth, batch, heads, room, head_dim)
        self._values = like.new_empty(depth, batch, heads, room, head_dim)
        self.length, self.room = 0, room

    def layer(self, number: int) -> Remember:
        """What one layer hands the keys and values of new tokens to."""
        return partial(self._extend, number)

    def grow(self, tokens: int) -> None:
        """Call once all layers have seen so many new tokens."""
        self.length += tokens

    def _extend(
        self, layer: int, keys: Float[Tensor, "b h n d"], values: Float[Tensor, "b h n d"]
    ) -> tuple[Tensor, Tensor]:
        end = self.length + keys.shape[2]
        if end > self.room:
            raise ValueError(
                f"there is room for {self.room} tokens, but {end} are needed: start with more "
                "rounds, or a network with a longer horizon"
            )
        self._keys[layer, :, :, self.length : end] = keys
        self._values[layer, :, :, self.length : end] = values
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]
