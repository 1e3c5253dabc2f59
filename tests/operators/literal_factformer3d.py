"""FactFormer on three axes as its formulas read, for comparison in tests and benchmarks.

As `literal_factformer`, with the lift of single channels, the padding and the convolutional branch.
Parameters are those of `FactFormer3d` with the norm "group".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.operators.factformer import FactFormer3d
from surform.operators.factorized_block import FactorizedBlock
from tests.operators.literal_factformer import literal_encoded, literal_kernel, literal_march

__all__ = ["literal_volume"]


def literal_volume(
    model: FactFormer3d, u: Tensor, coordinates: Sequence[Tensor], steps: int | None = None
) -> Tensor:
    """`FactFormer3d.forward`, (b, t, nx, ny, nz, c) -> (b, steps, nx, ny, nz, o)."""
    lift, grid, padding = model.lift, u.shape[2:-1], model.padding
    frames = u.movedim(1, -2)  # (b, *grid, t, c)
    scale, shift = (p.view(lift.in_channels, -1) for p in (lift.weight, lift.bias))
    u = lift.mix(F.gelu(frames[..., None] * scale + shift).flatten(-3))
    u = F.pad(u, (0, 0, 0, padding, 0, padding, 0, padding))
    axes = []
    for x, points in zip(coordinates, grid, strict=True):
        beyond = torch.arange(1, padding + 1, dtype=x.dtype) * (x[-1] - x[0]) / points
        axes.append(torch.cat((x, x[-1] + beyond)))
    for layer in model.layers:
        u = literal_encoded(layer.encoding, u, axes)
        u = _block(layer.block, u, axes) + u
    u = u[:, : grid[0], : grid[1], : grid[2]]
    if model.skip is not None:
        u = torch.cat((model.skip(u), u), dim=-1)
    return literal_march(model.marching, model.expand(u), steps or model.max_steps)


def _block(block: FactorizedBlock, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
    u = block.norm(u)
    heads = block.axes[0].heads
    p = block.to_value(u).unflatten(-1, (heads, -1)).movedim(-2, 1)  # (b, h, x, y, z, d)
    w = block.to_axes(u)
    first, second, third = (
        literal_kernel(kernel, kernel.pool(w).mean([n for n in (1, 2, 3) if n != axis]), x)
        for axis, kernel, x in zip((1, 2, 3), block.axes, coordinates, strict=True)
    )
    p = torch.einsum("bhij,bhjmnc->bhimnc", first, p)
    p = torch.einsum("bhlm,bhimnc->bhilnc", second, p)
    p = torch.einsum("bhon,bhilnc->bhiloc", third, p)
    mean = p.mean((2, 3, 4, 5), keepdim=True)
    p = (p - mean) / (p.var((2, 3, 4, 5), unbiased=True, keepdim=True) + 1e-8).sqrt()
    return block.mlp_out(F.gelu(block.to_out(p.movedim(1, -2).flatten(-2))))
