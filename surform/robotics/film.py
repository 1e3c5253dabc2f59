"""FiLM: channels scaled and shifted by a context (Perez et al., 2018, arXiv 1709.07871)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["FilmMaps", "Modulate"]


class Modulate(nn.Module):
    """(1 + scale) * x + shift, per channel; what the maps give is scale and shift side by side."""

    def forward(
        self, x: Float[Tensor, "b c h w"], modulation: Float[Tensor, "b m"]
    ) -> Float[Tensor, "b c h w"]:
        scale, shift = modulation[..., None, None].chunk(2, 1)
        return torch.addcmul(shift, 1 + scale, x)


class FilmMaps(nn.Linear):
    """The linear maps of all FiLM layers of a network as one; they begin as zero.

    Args:
        context_dim: width of the context.
        channels: of each layer, in order.
    """

    def __init__(self, context_dim: int, channels: Sequence[int]) -> None:
        super().__init__(context_dim, 2 * sum(channels))
        self.sizes = [2 * each for each in channels]
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def parts(self, modulation: Float[Tensor, "b m"]) -> tuple[Tensor, ...]:
        """What `forward` gave, for each layer: its scales and shifts side by side."""
        return modulation.split(self.sizes, -1)
