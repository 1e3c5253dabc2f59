"""Kernel integral -> norm -> projection of a few samples: the norm is folded into the projection."""

from __future__ import annotations

from torch import Tensor

from surform.operators.kernel_integral import KernelIntegral
from surform.operators.norm_moments import NormMoments
from surform.operators.out_norm import OutNorm

__all__ = ["integrate", "project"]


def integrate(
    norm: OutNorm, integral: KernelIntegral, partial: Tensor, results: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill partial and results; mean and scale of the norm, (b, h axes or 1, d or 1, x or 1)."""
    integral.run_first(partial, results)
    each = [integral.along(results[:, :, axis], 0) for axis in range(integral.axes)]
    shape = (len(each[0]), len(each), *each[0].shape[1:])
    moments = NormMoments(norm, shape, results)
    for slabs, features in integral.run_last(partial, results):
        for axis, q in enumerate(each):
            moments.add(slabs, axis, features, q[slabs, features])
    return moments.finish(integral.samples)


def project(
    norm: OutNorm,
    integral: KernelIntegral,
    results: Tensor,
    outs: Tensor,
    mean: Tensor,
    scale: Tensor,
    y: Tensor,
) -> None:
    """y (b, *grid, o) = the normalised results times outs (h axes, d, o)."""
    b = integral.samples
    y = y.view(b, integral.points, -1)
    if norm.over_heads:  # mean and scale belong to points
        weight = outs.flatten(0, 1).expand(b, -1, -1)
        shift = mean.view(b, -1, 1, 1) * outs.sum((0, 1))  # (b, x, 1, o)
    else:
        weight = scale * outs  # (b, h axes, d, o)
        shift = (mean * weight).sum((1, 2)).view(b, 1, 1, -1)
        weight = weight.flatten(1, 2)
    inner = results.flatten(1, 3)  # (b, h axes d, points)
    for points in integral.blocks:
        part = y[:, points]
        grid = part.view(b, -1, integral.rest, part.shape[-1])
        first = integral.first_indices(points) if norm.keep_first else slice(None)
        grid.copy_(-shift[:, first])
        part.baddbmm_(inner[..., points].transpose(1, 2), weight)
        if norm.over_heads:
            grid *= scale.view(b, -1, 1, 1)[:, first]
