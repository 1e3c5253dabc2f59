"""Kinds of attention that need fewer scores, as modules for `SelfAttention` to attend with."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.layers.checks import at_least, fraction, one_of

__all__ = ["MultiResolution", "NearestKeys"]


class MultiResolution(nn.Module):
    """Exact attention in chosen blocks, constant in each other one; see
    `surform.attention.multiresolution`.

    Zeng et al., 2022 (arXiv 2207.10284); official code mlpen/mra-attention@7e08afeb6f34.

    Args:
        blocks_per_row: blocks chosen for each block of queries, on average.
        mode: "full", or "sparse", which leaves the other blocks out.
        block_size: tokens of a block.
        first_blocks: first rows and columns of blocks that are always chosen.
        diagonal_blocks: width of the band along the diagonal that is always chosen [blocks].
    """

    def __init__(
        self,
        blocks_per_row: float = 4.0,
        *,
        mode: Literal["full", "sparse"] = "full",
        block_size: int = 32,
        first_blocks: int = 0,
        diagonal_blocks: int = 0,
    ) -> None:
        super().__init__()
        one_of("mode", mode, ["full", "sparse"])
        at_least(1, block_size=block_size)
        at_least(0, first_blocks=first_blocks, diagonal_blocks=diagonal_blocks)
        if not blocks_per_row > 0:
            raise ValueError(f"blocks_per_row is {blocks_per_row!r}, but must be above 0")
        self.blocks_per_row, self.mode, self.block_size = blocks_per_row, mode, block_size
        self.first_blocks, self.diagonal_blocks = first_blocks, diagonal_blocks

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h n d"],
        v: Float[Tensor, "b h n e"],
        *,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """mask: True = keep."""
        return attention.multiresolution(
            q,
            k,
            v,
            mask=mask,
            blocks_per_row=self.blocks_per_row,
            mode=self.mode,  # type: ignore[arg-type]
            block_size=self.block_size,
            first_blocks=self.first_blocks,
            diagonal_blocks=self.diagonal_blocks,
        )


class NearestKeys(nn.Module):
    """Softmax attention in training; in evaluation each query has its `top_k` keys only.

    Mao, Ester, Li, "IceFormer", 2024 (arXiv 2405.02842); the search here is exact.

    Args:
        dropout: of the weights in training.
    """

    def __init__(self, top_k: int = 20, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        at_least(1, top_k=top_k)
        fraction(dropout=dropout)
        self.top_k, self.causal, self.dropout = top_k, causal, dropout

    def forward(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m e"],
        *,
        mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """mask: True = keep, over keys."""
        if self.training:
            return attention.softmax(q, k, v, mask=mask, causal=self.causal, dropout_p=self.dropout)
        return attention.knn(q, k, v, top_k=self.top_k, mask=mask, causal=self.causal)
