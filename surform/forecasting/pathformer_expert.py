"""One expert of a Pathformer layer: attention inside and between patches of one size.

Chen et al., ICLR 2024, arXiv 2402.05956, section 3.1.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from surform.forecasting.pathformer_inter import InterPatch
from surform.forecasting.pathformer_intra import IntraPatch, IntraWeights
from surform.forecasting.pathformer_norm import ChannelNorm
from surform.layers.columns import feed_forward
from surform.layers.hashed_noise import dropout

__all__ = ["Expert"]


class Expert(nn.Module):
    """(d, l, v, b) -> (d, l, v, b): the input plus both attentions, then a feed-forward block.

    Args:
        hidden: width of the feed-forward block.
        batch_norm: normalise the d channels before and after the feed-forward block.
        dropout: of attention embeddings, outputs and the sum; ffn_dropout: inside the block.
    """

    def __init__(
        self,
        lookback: int,
        dim: int,
        patch_size: int,
        hidden: int,
        *,
        batch_norm: bool,
        restore_order: bool,
        dropout: float,
        ffn_dropout: float,
    ) -> None:
        super().__init__()
        patches = lookback // patch_size
        self.patch_size, self.dropout, self.ffn_dropout = patch_size, dropout, ffn_dropout
        self.intra = IntraPatch(lookback, patches)
        self.inter = InterPatch(
            dim, patch_size, patches, restore_order=restore_order, dropout=dropout
        )
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm_in = ChannelNorm(dim) if batch_norm else None
        self.norm_out = ChannelNorm(dim) if batch_norm else None

    def forward(
        self,
        u: Float[Tensor, "d l v b"],
        weights: IntraWeights,
        taken: Float[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "d l v b"]:
        """taken: 1 for the samples that count in the batch norms, 0 for others; None = all."""
        patches = u.unflatten(1, (-1, self.patch_size)).transpose(1, 2).contiguous()
        x = (u + self.intra(patches, weights)).add_(self.inter(patches))
        x = x if self.norm_in is None else self.norm_in(x, taken)
        if self.training and self.dropout:
            x = dropout(x, self.dropout)
        up, down = (self.up.weight, self.up.bias), (self.down.weight, self.down.bias)
        rate = self.ffn_dropout if self.training else 0.0
        x = feed_forward(x.flatten(1), up, down, rate).view(u.shape)
        return x if self.norm_out is None else self.norm_out(x, taken)
