"""Self-attention among tokens of like hashes, as Reformer has it.

Kitaev, Kaiser, Levskaya, 2020 (arXiv 2001.04451); official code google/trax, and
lucidrains/reformer-pytorch@66a19b6caf48, whose maps these are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.attention.key_samples import draw_keys
from surform.layers.checks import at_least
from surform.layers.multihead import merge_heads, split_heads

__all__ = ["LSHAttention"]

_ALONE = -5e4  # score of a token with itself: it counts where nothing else is left
_GRAIN = 2**24


class LSHAttention(nn.Module):
    """Tokens (b, n, dim) -> (b, n, dim); queries are keys. See `surform.attention.lsh`.

    Rotations are drawn anew in every step of training; in evaluation they are a function of `seed`,
    so that results repeat. The published code draws them anew there, too.

    Args:
        bucket_size: tokens of a bucket, and of a chunk.
        rounds: of hashing.
        across_buckets: see the tokens of a chunk whatever their bucket.
        duplicates: whether what is seen in several rounds counts as often.
        full_below: up to so many tokens attention is to all of them; None: `bucket_size`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        causal: bool = False,
        bucket_size: int = 64,
        rounds: int = 8,
        across_buckets: bool = True,
        duplicates: bool = True,
        full_below: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, heads=heads, bucket_size=bucket_size, rounds=rounds)
        if dim % heads:
            raise ValueError(f"heads is {heads}, but must divide dim = {dim}")
        self.heads, self.causal, self.bucket_size, self.rounds = heads, causal, bucket_size, rounds
        self.across_buckets, self.duplicates, self.seed = across_buckets, duplicates, seed
        self.full_below = bucket_size if full_below is None else full_below
        self.qk_value = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "b n c"], *, mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """mask: True = keep."""
        qk, v = split_heads(self.qk_value(x), 2, self.heads)
        if x.shape[1] <= self.full_below:
            return self.out(merge_heads(self._full(qk, v, mask)))
        rows = attention.lsh(
            qk,
            v,
            self._rotations(qk),
            bucket_size=self.bucket_size,
            mask=mask,
            causal=self.causal,
            across_buckets=self.across_buckets,
            duplicates=self.duplicates,
        )
        return self.out(merge_heads(rows))

    def _full(self, qk: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """All pairs, with the same keys and the same reluctance to see oneself."""
        keys = F.normalize(qk, dim=-1)
        bias = _ALONE * torch.eye(qk.shape[2], dtype=qk.dtype, device=qk.device)
        if mask is not None:
            own = torch.eye(qk.shape[2], dtype=torch.bool, device=qk.device)
            mask = own | mask[:, None, None]
        return attention.softmax(qk, keys, v, mask=mask, bias=bias, causal=self.causal)

    def _rotations(self, qk: Tensor) -> Tensor:
        half = attention.bucket_count(qk.shape[2], self.bucket_size) // 2
        shape = (qk.shape[3], self.rounds, half)
        if self.training:
            return torch.randn(shape, dtype=qk.dtype, device=qk.device)
        count = qk.shape[3] * self.rounds * half
        uniform = (draw_keys(count, _GRAIN, 1, self.seed, qk.device).float() + 0.5) / _GRAIN
        return torch.special.ndtri(uniform).view(shape).to(qk.dtype)
