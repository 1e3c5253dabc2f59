"""IFactFormer as its formulas read, for comparison in tests and benchmarks.

Every map acts on the full grid before it is pooled, every intermediate exists and is kept by
autograd in every iteration, attention is one einsum per axis. Parameters are those of
`IFactFormer`; grids of two and three axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.operators.factorized_block import FactorizedBlock
from surform.operators.ifactformer import IFactFormer, IteratedLayer
from tests.operators.literal_factformer import literal_kernel

__all__ = ["literal_block", "literal_forward"]


def literal_forward(model: IFactFormer, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """`IFactFormer.forward`, (b, t, *grid, c) -> (b, 1, *grid, o)."""
    u = _lift(model, u)
    for layer in model.layers:
        u = _layer(layer, u, coordinates)
    return model.out(F.gelu(model.hidden(u))).unsqueeze(1)


def _lift(model: IFactFormer, u: Tensor) -> Tensor:
    """A grouped convolution of every frame, a GELU, a convolution over all frames."""
    lift, (b, t, *grid, c) = model.lift, u.shape
    x = u.movedim(-1, 1).reshape(b, c, t, -1)  # (b, c, t, points)
    x = F.gelu(F.conv2d(x, lift.weight.view(-1, 1, 1, 1), lift.bias, groups=c))
    weight = lift.mix.weight.unflatten(1, (t, -1)).transpose(1, 2)[..., None]  # (d, half, t, 1)
    x = F.conv2d(x, weight.contiguous())[:, :, 0]  # (b, d, points)
    return x.unflatten(-1, grid).movedim(1, -1)


def _layer(layer: IteratedLayer, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    positions = torch.stack(torch.meshgrid(*coordinates, indexing="ij"), dim=-1)
    phase = 2 * math.pi * positions @ layer.encoding.frequencies
    features = torch.cat((torch.sin(phase), torch.cos(phase)), dim=-1)
    u = u + layer.encoding.project(features)
    for _ in range(layer.iterations):
        u = u + literal_block(layer.block, u, coordinates) / layer.iterations
    return u


def literal_block(block: FactorizedBlock, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """The block's update."""
    rank = u.ndim - 2
    u = block.norm(u)
    v = block.to_value(u).unflatten(-1, (block.axes[0].heads, -1)).movedim(-2, 1)
    w = block.to_axes(u)
    kernels = []
    for axis, (kernel, x) in enumerate(zip(block.axes, coordinates, strict=True)):
        others = [1 + other for other in range(rank) if other != axis]
        kernels.append(literal_kernel(kernel, kernel.pool(w).mean(others), x))
    if block.parallel:
        parts = [_contract(kernel, v, axis) for axis, kernel in enumerate(kernels)]
        p = torch.cat(parts, dim=-1)  # (b, h, *grid, axes d)
    else:
        p = v
        for axis, kernel in enumerate(kernels):
            p = _contract(kernel, p, axis)
    p = _normalize(block.out_norm.name, p)
    p = block.mlp_out(F.gelu(block.to_out(p)))
    if block.second_mlp:
        into, out = block.second_mlp
        p = out(F.gelu(into(p)))
    return p


def _contract(kernel: Tensor, v: Tensor, axis: int) -> Tensor:
    """sum_j K_ij v_j along one axis of v (b, h, *grid, d)."""
    axes = "xyz"[: v.ndim - 3]
    moved = axes.replace(axes[axis], "i")
    return torch.einsum(f"bhi{axes[axis]},bh{axes}c->bh{moved}c", kernel, v)


def _normalize(name: str, p: Tensor) -> Tensor:
    """(b, h, *grid, c) -> (b, *grid, h c): instance norm per channel, or per index of axis 0."""
    if name == "row_instance":
        return F.instance_norm(p.movedim(1, -2).flatten(-2))  # it expects channels first
    return F.instance_norm(p.movedim(-1, 2).flatten(1, 2)).movedim(1, -1)
