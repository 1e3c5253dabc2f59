"""Kernel integral -> norm -> projection of a few samples, the norm folded into the projection."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.operators.kernel_integral import KernelIntegral
from surform.operators.norm_moments import NormMoments
from surform.operators.out_norm import OutNorm

__all__ = ["integrate", "project"]


def integrate(
    norm: OutNorm, integral: KernelIntegral, partial: Tensor, results: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill partial and results; mean and scale of the norm, broadcasting against results."""
    integral.run_others(partial, results)
    moments, axes = NormMoments(norm, integral.piece_width, results), integral.axes
    for b, heads, features in integral.run_first(partial, results):
        place = (b, slice(None), slice(heads.start * axes, heads.stop * axes))
        moments.add(*place, features=features, q=results[(*place, features)])
    return moments.finish()


def project(
    norm: OutNorm,
    integral: KernelIntegral,
    results: Tensor,
    outs: Tensor,
    mean: Tensor,
    scale: Tensor,
    y: Tensor,
) -> None:
    """y (b, *grid, o) <- the normalised results times outs (heads, d, o)."""
    weight = outs if norm.over_heads else scale * outs  # else mean and scale belong to points
    shift = (mean * weight).sum((2, 3), keepdim=True)[:, :, 0].neg()  # (b, x or 1, 1, o)
    weight = weight.flatten(-3, -2).expand(len(results), 1, -1, -1)
    inner = results.flatten(2, 3).transpose(2, 3)  # (b, x, rest, heads d)
    y = y.view(*inner.shape[:3], -1)
    for b in range(len(y)):
        for block in integral.blocks:
            part, q = y[b, block], inner[b, block]
            torch.bmm(q, weight[b].expand(len(q), -1, -1), out=part)
            part += shift[b, block if norm.keep_first else slice(None)]
            if norm.over_heads:
                part *= scale[b, block, 0]
