"""The layers of the diffusion transformer policy: an encoder of tokens, a modulated decoder.

Dasari et al., "The Ingredients for Robotic Diffusion Transformers", 2024 (arXiv 2410.10088).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.attends import Softmax
from surform.layers.checks import at_least
from surform.layers.dropout import Dropout
from surform.layers.feed_forward import Activation, FeedForward
from surform.layers.multihead import SelfAttention, merge_heads, split_heads

__all__ = ["DecoderLayer", "Output", "PositionedAttention", "TimeEmbedding"]

MODULATIONS = 6  # scale, shift and gate of attention, then those of the feed-forward block


class PositionedAttention(SelfAttention):
    """Self-attention whose queries and keys know positions, and whose values do not.

    Carion et al., "End-to-End Object Detection with Transformers", 2020 (arXiv 2005.12872).
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        whole_heads(dim, heads)
        super().__init__(dim, heads, Softmax(dropout))

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "b n c"], positions: Float[Tensor, "n c"]
    ) -> Float[Tensor, "b n c"]:
        dim = x.shape[-1]
        (weight, of_values), (bias, value_bias) = (
            parameter.split((2 * dim, dim)) for parameter in (self.qkv.weight, self.qkv.bias)
        )
        q, k = split_heads(F.linear(x + positions, weight, bias), 2, self.heads)
        (v,) = split_heads(F.linear(x, of_values, value_bias), 1, self.heads)
        return self.out(merge_heads(self.attend(q, k, v)))


class TimeEmbedding(nn.Module):
    """Diffusion times (k,) -> (k, dim): cosines, then sines, then two linear maps.

    Args:
        time_dim: even; 4 or more.
    """

    frequencies: Tensor

    def __init__(self, time_dim: int, dim: int) -> None:
        super().__init__()
        at_least(4, time_dim=time_dim)
        if time_dim % 2:
            raise ValueError(f"time_dim is {time_dim}, but must be even: cosines and sines")
        half = time_dim // 2
        steps = torch.arange(half, dtype=torch.float32)
        frequencies = torch.exp(steps * -(math.log(10000) / (half - 1)))
        # saved: weights are used with the frequencies that they were trained with
        self.register_buffer("frequencies", frequencies.to(torch.get_default_dtype()))
        self.up = nn.Linear(time_dim, dim)
        self.down = nn.Linear(dim, dim)

    def forward(self, time: Float[Tensor, " k"]) -> Float[Tensor, "k d"]:
        angles = time[:, None] * self.frequencies
        return self.down(F.silu(self.up(torch.cat((angles.cos(), angles.sin()), -1))))


class DecoderLayer(nn.Module):
    """Attention and a feed-forward block, modulated by what is known: (b, c, dim) -> same.

    x + gate * attention(norm(x) * scale + shift), then the same with the feed-forward block. All
    six are linear maps of SiLU(condition), kept as one; scales have no "1 +", and gates begin at 0.
    """

    def __init__(
        self, dim: int, heads: int, hidden: int, *, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        whole_heads(dim, heads)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads, Softmax(dropout))
        self.feed_forward = FeedForward(dim, hidden, dropout=dropout, activation=activation)
        self.dropout = Dropout(dropout)
        self.modulation = nn.Linear(dim, MODULATIONS * dim)

    def forward(
        self, x: Float[Tensor, "b c d"], modulation: Float[Tensor, "b m"]
    ) -> Float[Tensor, "b c d"]:
        """modulation: `self.modulation` of SiLU(condition)."""
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation[:, None].chunk(MODULATIONS, -1)
        mixed = self.attention(modulated(self.norm1, x, scale1, shift1))
        x = torch.addcmul(x, gate1, self.dropout(mixed))
        turned = self.feed_forward(modulated(self.norm2, x, scale2, shift2))
        return torch.addcmul(x, gate2, turned)

    @torch.no_grad()
    def reset(self) -> None:
        """Uniform weights after Glorot; gates of zero, so that the layer changes nothing yet."""
        glorot(self)
        nn.init.zeros_(self.modulation.bias)
        for number, part in enumerate(self.modulation.weight.chunk(MODULATIONS)):
            nn.init.zeros_(part) if number % 3 == 2 else nn.init.xavier_uniform_(part)


class Output(nn.Module):
    """linear(x * scale + shift), no norm before it; scale and shift begin at 0.

    So nothing is said at first. Were the linear map zero, too, as in the official code, no gradient
    would reach either of them.
    """

    def __init__(self, dim: int, action_dim: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(dim, 2 * dim)
        self.linear = nn.Linear(dim, action_dim)
        nn.init.xavier_uniform_(self.linear.weight)
        for parameter in (self.linear.bias, *self.modulation.parameters()):
            nn.init.zeros_(parameter)

    def forward(
        self, x: Float[Tensor, "b c d"], modulation: Float[Tensor, "b m"]
    ) -> Float[Tensor, "b c a"]:
        """modulation: `self.modulation` of SiLU(condition): shift, then scale."""
        shift, scale = modulation[:, None].chunk(2, -1)
        return self.linear(torch.addcmul(shift, x, scale))


def modulated(
    norm: nn.LayerNorm, x: Float[Tensor, "b c d"], scale: Float[Tensor, "b 1 d"], shift: Tensor
) -> Float[Tensor, "b c d"]:
    """norm(x) * scale + shift; of a single chunk by the norm's own kernel, in one pass over x."""
    if torch.compiler.is_compiling() or len(x) != 1:  # compilers fuse it themselves
        return torch.addcmul(shift, norm(x), scale)
    scale, shift = scale[0, 0], shift[0, 0]
    weight, bias = norm.weight * scale, torch.addcmul(shift, norm.bias, scale)
    return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


@torch.no_grad()
def glorot(layer: nn.Module) -> None:
    """Uniform weights after Glorot in all matrices; queries, keys and values are three of them."""
    for name, parameter in layer.named_parameters():
        if parameter.ndim > 1:
            for part in parameter.chunk(3 if name.endswith("qkv.weight") else 1):
                nn.init.xavier_uniform_(part)


def whole_heads(dim: int, heads: int) -> None:
    """ValueError unless the heads share the width evenly."""
    at_least(1, dim=dim, heads=heads)
    if dim % heads:
        raise ValueError(f"dim is {dim}, but must be a multiple of heads = {heads}")
