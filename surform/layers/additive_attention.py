"""Self-attention through two global vectors, as Fastformer has it.

Wu et al., 2021 (arXiv 2108.09084); official code wuch15/Fastformer@84cc859f6dfb.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.layers.checks import at_least
from surform.layers.multihead import merge_heads, split_heads

__all__ = ["AdditiveAttention"]


class AdditiveAttention(nn.Module):
    """transform(global key * query) + query: (b, n, dim) -> (b, n, dim).

    See `surform.attention.additive`. Values are the queries.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        at_least(1, dim=dim, heads=heads)
        if dim % heads:
            raise ValueError(f"heads is {heads}, but must divide dim = {dim}")
        self.heads = heads
        self.query_key = nn.Linear(dim, 2 * dim)
        self.query_scores, self.key_scores = nn.Linear(dim, heads), nn.Linear(dim, heads)
        self.transform = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "b n c"], *, mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """mask: True = keep."""
        both = self.query_key(x)
        q, k = split_heads(both, 2, self.heads)
        rows = attention.additive(
            q,
            k,
            query_map=(self.query_scores.weight, self.query_scores.bias),
            key_map=(self.key_scores.weight, self.key_scores.bias),
            mask=mask,
        )
        return self.transform(merge_heads(rows)) + both.chunk(2, -1)[0]
