"""Factorised attention on tensor-product grids of any rank: the block of FactFormer and its kin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.checks import at_least
from surform.layers.fourier_encoding import FourierEncoding
from surform.layers.tokenwise import tokenwise
from surform.operators.axis_kernel import AxisKernel
from surform.operators.mixed_update import mixed_update
from surform.operators.out_norm import out_norm as find_norm
from surform.operators.pooled_norm import axis_means, encoded_norm, pooled_norm

__all__ = ["FactorizedBlock", "FactorizedLayer"]


class FactorizedBlock(nn.Module):
    """One kernel per axis from pooled features, the values contracted with one after the other.

    Li, Shu, Farimani, "Scalable Transformer for PDE Surrogate Modeling" (2023), arXiv 2305.17560.

    Args:
        rank: number of axes of the grid.
        latent_dim: width that each kernel's queries and keys are made from (None: dim).
        dim_out: channels of the result (None: dim).
        kernel_multiplier: width of a kernel's queries and keys over head_dim.
        periodic: whether all axes, or each of them, close on themselves; see `AxisKernel`.
        parallel: contract the same values with every kernel and concatenate per head, instead of
            one after the other.
        out_norm: "group", "row_instance" or "channel_instance"; see `surform.operators.out_norm`.
        second_mlp: end with two more linear maps without bias, a GELU between them.
        recompute: keep no contracted values for the backward pass: less memory, more time.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        rank: int,
        *,
        latent_dim: int | None = None,
        dim_out: int | None = None,
        kernel_multiplier: int = 3,
        scaling_factor: float = 1.0,
        rotary: bool = True,
        periodic: bool | Sequence[bool] = False,
        parallel: bool = False,
        out_norm: str = "group",
        second_mlp: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, heads=heads, head_dim=head_dim, rank=rank)
        at_least(1, kernel_multiplier=kernel_multiplier)
        self.parallel, self.recompute, self.out_norm = parallel, recompute, find_norm(out_norm)
        dim_out = dim if dim_out is None else dim_out
        circles = [periodic] * rank if isinstance(periodic, bool) else periodic
        self.norm = nn.LayerNorm(dim)
        self.to_value = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_axes = nn.Linear(dim, dim, bias=False)
        self.axes = nn.ModuleList(
            AxisKernel(
                dim,
                heads,
                head_dim,
                dim if latent_dim is None else latent_dim,
                kernel_multiplier,
                scaling_factor,
                rotary,
                circle,
            )
            for _, circle in zip(range(rank), circles, strict=True)
        )
        features = heads * head_dim * (rank if parallel else 1)
        self.to_out = nn.Linear(features, dim_out, bias=False)
        self.mlp_out = nn.Linear(dim_out, dim_out, bias=False)
        pair = [nn.Linear(dim_out, dim_out, bias=False) for _ in range(2 if second_mlp else 0)]
        self.second_mlp = nn.ModuleList(pair)

    def forward(
        self,
        u: Float[Tensor, "b *grid c"],
        coordinates: Sequence[Float[Tensor, " _"]],
        residual: Float[Tensor, "b *grid o"] | None = None,
        normed: tuple[Tensor, list[Tensor]] | None = None,
        factor: float = 1.0,
    ) -> Float[Tensor, "b *grid o"]:
        """factor times the block's update of u, plus `residual` if given.

        Args:
            coordinates: in physical units.
            normed: the norm of u and its means along the axes, if they are known already.
        """
        normal, pooled = pooled_norm(u, None, self.norm)[1:] if normed is None else normed
        kernels = self._kernels(pooled, coordinates)
        if not self.second_mlp:
            return self._mix(normal, kernels, _times(factor, self.mlp_out.weight), residual)
        # two linear maps in a row are one
        into, out = cast(Iterable[nn.Linear], self.second_mlp)
        hidden = self._mix(normal, kernels, into.weight @ self.mlp_out.weight, None)
        return tokenwise(F.gelu, hidden, (), _times(factor, out.weight), residual)

    def _mix(
        self, normal: Tensor, kernels: list[Tensor], last: Tensor, residual: Tensor | None
    ) -> Tensor:
        return mixed_update(
            normal,
            self.to_value.weight,
            self.to_out.weight,
            last,
            kernels,
            self.out_norm,
            residual,
            parallel=self.parallel,
            recompute=self.recompute,
        )

    def kernels(
        self, u: Float[Tensor, "b *grid c"], coordinates: Sequence[Float[Tensor, " _"]]
    ) -> list[Float[Tensor, "b h _ _"]]:
        """One kernel per axis of the normalised features u."""
        return self._kernels(axis_means(u), coordinates)

    def _kernels(
        self, pooled: list[Tensor], coordinates: Sequence[Tensor]
    ) -> list[Float[Tensor, "b h _ _"]]:
        # every map before the mean is linear without bias, so that it may follow the mean
        pairs = zip(self.axes, pooled, coordinates, strict=True)
        return [kernel(self.to_axes(mean), coordinate) for kernel, mean, coordinate in pairs]


class FactorizedLayer(nn.Module):
    """u + block(u) after the encoding of the positions was added to u."""

    def __init__(self, block: FactorizedBlock, encoding: FourierEncoding) -> None:
        super().__init__()
        self.encoding, self.block = encoding, block

    def forward(
        self, u: Float[Tensor, "b *grid c"], coordinates: Sequence[Float[Tensor, " _"]]
    ) -> Float[Tensor, "b *grid c"]:
        u, normal, means = encoded_norm(u, self.encoding, coordinates, self.block.norm)
        return self.block(u, coordinates, residual=u, normed=(normal, means))


def _times(factor: float, weight: Tensor) -> Tensor:
    return weight if factor == 1 else factor * weight
