"""IFactFormer: one factorised block, applied again and again (Yang, Wang, Wang, 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least, one_of
from surform.layers.fourier_encoding import FourierEncoding
from surform.layers.recomputed import recomputed
from surform.operators.factorized_block import FactorizedBlock
from surform.operators.field_checks import check_coordinates, check_field, check_steps
from surform.operators.grid_layers import WindowLift

__all__ = ["IFactFormer", "IteratedLayer"]

Mixing = Literal["parallel", "chained"]
Release = Literal["head", "first"]
Recompute = Literal["none", "values", "iterations"]


class IFactFormer(nn.Module):
    """Predicts the next frame of fields on a grid; the defaults are published for channel flow.

    Yang, Wang, Wang, "Implicit factorized transformer approach to fast prediction of turbulent
    channel flows" (2024), arXiv 2412.18840; official code huiyu-2002/IFactFormer-m@3f110da556d4
    and its first release, 447c390e2b5e.

    Each layer adds an encoding of the positions, then takes `iterations` steps
    u <- u + block(u) / iterations with the same weights.

    Args:
        input_steps: frames of the input window.
        depth: layers, each with weights of its own.
        iterations: steps of each layer (the official n_layer).
        head_dim: channels per head; heads * head_dim need not be dim.
        kernel_multiplier: width of the axis kernels' queries and keys over head_dim.
        mixing: "parallel" contracts the same values with each axis's kernel alone and concatenates
            (IFactFormer-m), "chained" contracts one axis after the other (IFactFormer-o).
        release: what the official history disagrees on. "head": the contracted values are
            normalised per channel over all points. "first": per index of the FIRST axis, over all
            else, and in parallel the block ends with a second MLP; the published notebook ran it.
        encoding_scale: standard deviation of the encoding's frequencies [1 / unit of length].
        rank: axes of the grid.
        periodic: which axes are evenly spaced and close on themselves, their end points not
            repeated: positions enter there through whole waves per period only (ours; none as
            published).
        recompute: what training makes again in the backward pass instead of keeping it: "none";
            "values", all that has the width of the heads; "iterations", all but the field between
            two steps.
    """

    time_window: ClassVar[bool] = True
    max_steps: ClassVar[int] = 1

    @record_arguments
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        input_steps: int = 1,
        dim: int = 96,
        depth: int = 1,
        iterations: int = 10,
        heads: int = 5,
        head_dim: int = 96,
        kernel_multiplier: int = 3,
        mixing: Mixing = "parallel",
        release: Release = "head",
        encoding_scale: float = 8.0,
        rank: int = 3,
        periodic: Sequence[bool] | None = None,
        recompute: Recompute = "values",
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels, input_steps=input_steps)
        at_least(1, dim=dim, depth=depth, iterations=iterations)
        at_least(2, rank=rank)
        one_of("mixing", mixing, ("parallel", "chained"))
        one_of("release", release, ("head", "first"))
        one_of("recompute", recompute, ("none", "values", "iterations"))
        self.in_channels, self.input_steps, self.rank = in_channels, input_steps, rank
        self.periodic = _circles(periodic, rank)
        self.lift = WindowLift(in_channels, input_steps, dim)
        parallel, first = mixing == "parallel", release == "first"
        self.layers = nn.ModuleList(
            IteratedLayer(
                FactorizedBlock(
                    dim,
                    heads,
                    head_dim,
                    rank,
                    kernel_multiplier=kernel_multiplier,
                    periodic=self.periodic,
                    parallel=parallel,
                    out_norm="row_instance" if first else "channel_instance",
                    second_mlp=first and parallel,
                    recompute=recompute == "values",
                ),
                FourierEncoding(rank, dim, encoding_scale, self.periodic),
                iterations,
                recompute=recompute == "iterations",
            )
            for _ in range(depth)
        )
        self.hidden = nn.Linear(dim, dim // 2, bias=False)
        self.out = nn.Linear(dim // 2, out_channels)

    def forward(
        self,
        u: Float[Tensor, "b t *grid c"],
        coordinates: Sequence[Float[Tensor, " _"]],
        steps: int | None = None,
    ) -> Float[Tensor, "b 1 *grid o"]:
        """u: normalised frames, oldest first; coordinates in physical units; steps: 1 or None."""
        check_field(u, self.rank, self.in_channels, self.input_steps)
        check_steps(steps, self.max_steps)
        like = self.out.weight
        coordinates = check_coordinates(coordinates, u.shape[2:-1], like, periodic=self.periodic)
        u = self.lift(u)
        for layer in self.layers:
            u = layer(u, coordinates)
        return self.out(F.gelu(self.hidden(u))).unsqueeze(1)


class IteratedLayer(nn.Module):
    """u plus the encoding of the positions, then u <- u + block(u) / iterations so many times.

    Args:
        recompute: keep nothing but the fields between two steps for the backward pass.
    """

    def __init__(
        self,
        block: FactorizedBlock,
        encoding: FourierEncoding,
        iterations: int,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.encoding, self.block = encoding, block
        self.iterations, self.recompute = iterations, recompute

    def forward(
        self, u: Float[Tensor, "b *grid c"], coordinates: Sequence[Float[Tensor, " _"]]
    ) -> Float[Tensor, "b *grid c"]:
        u = u + self.encoding(coordinates)
        for _ in range(self.iterations):
            if self.recompute:
                u = recomputed(self._step, u, coordinates)
            else:
                u = self._step(u, coordinates)
        return u

    def _step(self, u: Tensor, coordinates: Sequence[Tensor]) -> Tensor:
        return self.block(u, coordinates, residual=u, factor=1 / self.iterations)


def _circles(periodic: Sequence[bool] | None, rank: int) -> tuple[bool, ...]:
    """Per axis whether it is periodic."""
    if periodic is None:
        return (False,) * rank
    if isinstance(periodic, (bool, str)) or len(periodic) != rank:
        raise ValueError(f"periodic is {periodic!r}, but must say true or false for {rank} axes")
    return tuple(periodic)
