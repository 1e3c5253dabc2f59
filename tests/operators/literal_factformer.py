"""FactFormer for rollouts as its formulas read, for comparison in tests and benchmarks.

Every map acts on the full grid before it is pooled, every intermediate exists, attention is one
einsum per axis. Parameters are those of `FactFormer2d` and `FactFormerSteady2d`; of the form for
three axes see `literal_factformer3d`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.operators.axis_kernel import AxisKernel
from surform.operators.factformer import FactFormer2d, FactFormerSteady2d
from surform.operators.factorized_block import FactorizedBlock
from surform.operators.latent_marching import LatentMarching
from surform.operators.point_head import PointHead

__all__ = [
    "literal_block",
    "literal_encoded",
    "literal_forward",
    "literal_kernel",
    "literal_march",
    "literal_steady",
]


def literal_forward(
    model: FactFormer2d, u: Tensor, coordinates: Sequence[Tensor], steps: int | None = None
) -> Tensor:
    """`FactFormer2d.forward`, (b, t, nx, ny, c) -> (b, steps, nx, ny, o)."""
    u = model.lift(u.movedim(1, -2).flatten(-2))
    for layer in model.layers:
        u = literal_encoded(layer.encoding, u, coordinates)
        u = literal_block(layer.block, u, coordinates) + u
    return literal_march(model.marching, model.expand(u), steps or model.max_steps)


def literal_steady(model: FactFormerSteady2d, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """`FactFormerSteady2d.forward`, (b, nx, ny, c) -> (b, nx, ny, o)."""
    u = model.lift(u)
    for layer in model.layers:
        u = literal_encoded(layer.encoding, u, coordinates)
        u = literal_block(layer.block, u, coordinates) + u
    x = torch.cat((model.skip(u), u), dim=-1)
    return _read(model.head, x)


def literal_encoded(encoding: Any, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """u and the encoding of every point's position, on a grid of any rank."""
    positions = torch.stack(torch.meshgrid(*coordinates, indexing="ij"), dim=-1)
    phase = 2 * math.pi * positions @ encoding.frequencies
    features = torch.cat((torch.sin(phase), torch.cos(phase)), dim=-1)
    return u + encoding.project(features)


def literal_block(block: FactorizedBlock, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    """The block's update on a 2-D grid, chained kernels, any of the three norms."""
    u = block.norm(u)
    heads = block.axes[0].heads
    v = block.to_value(u).unflatten(-1, (heads, -1)).permute(0, 3, 1, 2, 4)  # (b, h, x, y, d)
    w = block.to_axes(u)
    pooled = (block.axes[0].pool(w).mean(2), block.axes[1].pool(w.transpose(1, 2)).mean(2))
    kernels = [
        literal_kernel(kernel, z, x)
        for kernel, z, x in zip(block.axes, pooled, coordinates, strict=True)
    ]
    p = torch.einsum("bhij,bhjmc->bhimc", kernels[0], v)
    p = torch.einsum("bhlm,bhimc->bhilc", kernels[1], p)
    p = _normalize(block.out_norm.name, p).permute(0, 2, 3, 1, 4).flatten(-2)
    return block.mlp_out(F.gelu(block.to_out(p)))


def literal_kernel(kernel: AxisKernel, pooled: Tensor, coordinate: Tensor) -> Tensor:
    """K of one axis from features pooled behind the last linear map."""
    hidden, gate = kernel.gate(kernel.norm(pooled)).chunk(2, dim=-1)
    z = kernel.reduce(F.gelu(hidden) * gate)
    angles = 64 * coordinate[:, None] * kernel.frequencies
    angles = torch.cat((angles, angles), dim=-1)
    q, k = (
        _rotate(linear(z).unflatten(-1, (kernel.heads, -1)).transpose(1, 2), angles)
        for linear in (kernel.to_query, kernel.to_key)
    )
    return torch.einsum("bhid,bhjd->bhij", q, k) * kernel.scaling


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat((-b, a), dim=-1) * angles.sin()


def _normalize(name: str, p: Tensor) -> Tensor:
    if name == "group":
        mean = p.mean((2, 3, 4), keepdim=True)
        return (p - mean) / (p.var((2, 3, 4), unbiased=True, keepdim=True) + 1e-8).sqrt()
    if name == "channel_instance":
        channels = p.permute(0, 1, 4, 2, 3).flatten(1, 2)
        normal = F.instance_norm(channels).unflatten(1, (p.shape[1], -1))
        return normal.permute(0, 1, 3, 4, 2)
    last = p.permute(0, 2, 3, 1, 4)  # (b, x, y, h, d): the instances are the rows x
    return F.instance_norm(last.flatten(-2)).view(last.shape).permute(0, 3, 1, 2, 4)


def literal_march(marching: LatentMarching, u: Tensor, steps: int) -> Tensor:
    """Frames from the latent state, on a grid of any rank."""
    states = []
    for step in range(steps):
        u = u + marching.step_embedding[step]
        u = u + marching.down(F.gelu(marching.up(marching.norm(u))))
        states.append(u)
    x = _read(marching.head, torch.cat(states))
    return x.unflatten(0, (steps, -1)).transpose(0, 1)


def _read(head: PointHead, u: Tensor) -> Tensor:
    x = u.flatten(1, -2).transpose(1, 2)  # (b, channels, points)
    x = head.norm(x)
    x = F.gelu(F.conv1d(x, head.grouped[..., None], groups=head.linear_groups))
    if head.hidden is not None:
        x = F.gelu(F.conv1d(x, head.hidden.weight[..., None]))
    x = F.conv1d(x, head.out.weight[..., None], head.out.bias)
    return x.transpose(1, 2).unflatten(1, u.shape[1:-1])
