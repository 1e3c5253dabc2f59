"""Self-attention by the delta rule, as DeltaNet has it, and with a decay, as Gated DeltaNet has it.

Yang et al., 2024 (arXiv 2406.06484 and 2412.06464); official code
fla-org/flash-linear-attention@bc3b101dcb71.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from surform import attention
from surform.layers.checks import at_least
from surform.layers.multihead import merge_heads, split_heads

__all__ = ["DeltaAttention"]

_EPS = 1e-5


class DeltaAttention(nn.Module):
    """Tokens (b, n, dim) -> (b, n, dim), each made of itself and what is before it.

    Queries, keys and values pass a short causal convolution per channel and SiLU; queries and keys
    have length one. See `surform.attention.delta`. No map has a bias.

    Args:
        conv_size: steps that the convolutions see; 0 does without, SiLU stays.
        negative_eigenvalues: beta lies in (0, 2) instead of (0, 1).
        decay: let the state shrink before each token, by a factor that depends on it.
        gate: multiply the result by SiLU of a linear map of the token.
        chunk_size: tokens that are computed together.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        conv_size: int = 4,
        negative_eigenvalues: bool = False,
        decay: bool = False,
        gate: bool = False,
        chunk_size: int = 32,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, heads=heads, chunk_size=chunk_size)
        at_least(0, conv_size=conv_size)
        if dim % heads:
            raise ValueError(f"heads is {heads}, but must divide dim = {dim}")
        self.heads, self.chunk_size = heads, chunk_size
        self.largest = 2.0 if negative_eigenvalues else 1.0
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.conv = None
        if conv_size:
            self.conv = nn.Conv1d(3 * dim, 3 * dim, conv_size, groups=3 * dim, bias=False)
        self.beta = nn.Linear(dim, heads, bias=False)
        self.decay = nn.Linear(dim, heads, bias=False) if decay else None
        if decay:  # rates 1 to 16 per unit of time; steps of 0.001 to 0.1 units at the start
            self.log_rate = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
            step = torch.empty(heads).uniform_(-3, -1).mul(2.302585).exp()
            self.step_bias = nn.Parameter(step.expm1().log())
        self.gate = nn.Linear(dim, dim, bias=False) if gate else None
        self.norm = nn.RMSNorm(dim // heads, eps=_EPS)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "b n c"], *, mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """mask: True = keep; other tokens are zeros to the convolution, and leave no trace."""
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        q, k, v = split_heads(F.silu(self._convolved(self.qkv(x))), 3, self.heads)
        rows = attention.delta(
            F.normalize(q, dim=-1),
            F.normalize(k, dim=-1),
            v,
            self.largest * self.beta(x).sigmoid().transpose(1, 2),
            decay=None if self.decay is None else self._log_decay(self.decay(x)),
            mask=mask,
            chunk_size=self.chunk_size,
        )
        rows = merge_heads(self.norm(rows.to(self.norm.weight.dtype)))
        if self.gate is not None:
            rows = rows * F.silu(self.gate(x))
        return self.out(rows)

    def _convolved(self, x: Tensor) -> Tensor:
        if self.conv is None:
            return x
        before = self.conv.kernel_size[0] - 1
        return self.conv(F.pad(x.transpose(1, 2), (before, 0))).transpose(1, 2)

    def _log_decay(self, x: Tensor) -> Tensor:
        """-rate * softplus(x + bias), (b, n, h) -> (b, h, n), never above 0."""
        return (-self.log_rate.exp() * F.softplus(x + self.step_bias)).transpose(1, 2).to(x.dtype)
