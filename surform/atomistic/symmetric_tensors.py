"""Symmetric 3 x 3 tensors as a multiple of the unit and five components of degree 2."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["components", "rescaled", "symmetric_tensors"]


def symmetric_tensors(
    isotropic: Float[Tensor, " b"], anisotropic: Float[Tensor, "b 5"]
) -> Float[Tensor, "b 3 3"]:
    """Tensors whose squares add up to those of the components.

    Args:
        anisotropic: in the order of the harmonics of degree 2: xz, xy, y^2, yz, z^2 - x^2.
    """
    unit = torch.eye(3, dtype=isotropic.dtype, device=isotropic.device) / math.sqrt(3)
    basis = _basis(anisotropic)
    return isotropic[:, None, None] * unit + torch.einsum("bk,kij->bij", anisotropic, basis)


def components(
    tensors: Float[Tensor, "b 3 3"],
) -> tuple[Float[Tensor, " b"], Float[Tensor, "b 5"]]:
    """The inverse of `symmetric_tensors`."""
    isotropic = tensors.diagonal(dim1=1, dim2=2).sum(1) / math.sqrt(3)
    return isotropic, torch.einsum("bij,kij->bk", tensors, _basis(tensors))


def rescaled(
    tensors: Float[Tensor, "b 3 3"],
    isotropic: tuple[Tensor, Tensor],
    anisotropic: tuple[Tensor, Tensor],
) -> Float[Tensor, "b 3 3"]:
    """Tensors whose components are multiplied and moved.

    Args:
        isotropic, anisotropic: factor and shift, numbers each, of the two kinds of components.
    """
    trace, rest = components(tensors)
    (a, b), (c, d) = isotropic, anisotropic
    return symmetric_tensors(trace * a + b, rest * c + d)


def _basis(like: Tensor) -> Tensor:
    """Five symmetric tensors without a trace, of norm 1 and orthogonal, (5, 3, 3)."""
    x, y, z = torch.eye(3, dtype=like.dtype, device=like.device)

    def mixed(a: Tensor, b: Tensor) -> Tensor:
        return (torch.outer(a, b) + torch.outer(b, a)) / 2

    kinds = [
        mixed(x, z),
        mixed(x, y),
        2 * mixed(y, y) - mixed(x, x) - mixed(z, z),
        mixed(y, z),
        mixed(z, z) - mixed(x, x),
    ]
    return torch.stack([kind / kind.norm() for kind in kinds])
