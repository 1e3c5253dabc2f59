"""Dropout whose masks cost a twentieth of torch's on CPUs, and no memory until the backward pass.

torch draws one Mersenne Twister number per element. Here element i of a block is kept or dropped by
the high bits of a p_i + b modulo 2^32: p is one fixed table of random numbers, the odd a and b are
drawn per block from torch's generator. For random (a, b) that is a pairwise independent hash
(Dietzfelbinger, "Universal hashing and k-wise independent random variables", 1996): every element
is dropped with the wanted probability to 2^-32, any two of a block are uncorrelated up to one part
in thousands, and a backward pass makes the mask again from two numbers.
"""

from __future__ import annotations

import functools
import math
import struct
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.layers.blocking import works_in_blocks

__all__ = ["BLOCK", "Noise", "dropout", "hashes"]

BLOCK = 1 << 17  # most elements of a block: half a megabyte of float32
_MOST = 0.49  # above, the threshold would meet the floating-point numbers around zero


def hashes(x: Tensor, p: float) -> bool:
    """Whether masks for `x` are made here: eager float32 and float64 on the CPU."""
    return 0.0 < p < _MOST and works_in_blocks(x)


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with a share p of its elements zero and the others divided by 1 - p; always applied."""
    if not hashes(x, p):
        return F.dropout(x, p) if p else x
    return _Dropout.apply(x, Noise(math.ceil(x.numel() / BLOCK), p, x.dtype))  # type: ignore[no-any-return]


class Noise:
    """The masks of `blocks` blocks; reproducible from torch's seed."""

    def __init__(self, blocks: int, p: float, dtype: torch.dtype) -> None:
        self.scale = 1 / (1 - p)
        self.threshold = _threshold(p, dtype)
        self.dtype = dtype
        integer, bits = _integer(dtype)
        draws = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, (2, blocks), dtype=integer)
        self.factors, self.offsets = (draws[0] | 1).tolist(), draws[1]

    def draw(self, block: int, out: Tensor) -> Tensor:
        """The noise of a block, written into a contiguous `out` of at most BLOCK elements."""
        bits = out.view(-1).view(_integer(self.dtype)[0])
        table = _table(self.dtype)[: out.numel()]
        torch.add(self.offsets[block], table, alpha=self.factors[block], out=bits)
        return out

    def mask_(self, x: Tensor, noise: Tensor) -> Tensor:
        """Set to zero, in place, what the noise drops: where it is at most the threshold."""
        return torch.ops.aten.threshold_backward.grad_input(x, noise, self.threshold, grad_input=x)


class _Dropout(torch.autograd.Function):
    """Linear in x: its gradient is the same map."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Noise) -> Tensor:
        ctx.noise = noise
        out = (x * noise.scale).contiguous()
        work = x.new_empty(min(BLOCK, x.numel()))
        for block, part in enumerate(out.view(-1).split(BLOCK)):
            noise.mask_(part, noise.draw(block, work[: len(part)]))
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        return _Dropout.apply(outer[0].contiguous(), ctx.noise), None  # type: ignore[return-value]


def _integer(dtype: torch.dtype) -> tuple[torch.dtype, int]:
    return (torch.int64, 64) if dtype == torch.float64 else (torch.int32, 32)


@functools.cache
def _table(dtype: torch.dtype) -> Tensor:
    integer, bits = _integer(dtype)
    generator = torch.Generator().manual_seed(20240205)
    low = -(2 ** (bits - 1))
    with torch.inference_mode(False):
        return torch.randint(low, -(low + 1), (BLOCK,), dtype=integer, generator=generator)


@functools.cache
def _threshold(p: float, dtype: torch.dtype) -> float:
    """t with P(noise <= t) = p, where the noise's bits are uniform.

    Negative floating-point numbers grow in size with their bits, up to minus infinity; beyond it
    lie the NaNs, which no comparison holds for.
    """
    if dtype == torch.float64:
        bits = 0x7FF0000000000000 - round(p * 2**64) + 1
        return -struct.unpack("<d", struct.pack("<Q", bits))[0]
    bits = 0x7F800000 - round(p * 2**32) + 1
    return -struct.unpack("<f", struct.pack("<I", bits))[0]
