"""FactFormer: factorised transformers for steady fields, 2-D and 3-D rollouts (Li et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.arguments import record_arguments
from surform.layers.checks import at_least
from surform.layers.fourier_encoding import FourierEncoding
from surform.layers.large_linear import LargeLinear
from surform.operators.factorized_block import FactorizedBlock, FactorizedLayer
from surform.operators.field_checks import check_coordinates, check_field, check_steps
from surform.operators.grid_layers import ConvSkip, WindowLift, extend_axis, pad_end
from surform.operators.latent_marching import LatentMarching
from surform.operators.point_head import PointHead

__all__ = ["FactFormer2d", "FactFormer3d", "FactFormerSteady2d"]

Norm = Literal["group", "row_instance", "channel_instance"]


class FactFormerSteady2d(nn.Module):
    """Maps a field on a 2-D grid to a field on it; the defaults are published for Darcy flow.

    Li, Shu, Farimani, "Scalable Transformer for PDE Surrogate Modeling" (NeurIPS 2023), arXiv
    2305.17560; official code BaratiLab/FactFormer@c9801d162cb3 and its parent cd3e2638acf9.

    Deviations: the convolutional branch returns to any grid, not only to a square one of a fixed
    size; `out_norm` chooses between the semantics that the official history holds.

    Args:
        head_dim: channels per head; heads * head_dim need not be dim.
        kernel_multiplier: width of the axis kernels' queries and keys over head_dim.
        out_norm: "group" (per head over all points), "row_instance" (per index of the first axis;
            the official release before its last commit) or "channel_instance".
        encoding_scale: standard deviation of the encoding's frequencies [1 / unit of length].
        periodic: every axis is evenly spaced and closes on itself, its end point not repeated:
            positions enter through whole waves per period only (ours; False as published).
        recompute: keep no contracted values for the backward pass: less memory, more time.
    """

    time_window: ClassVar[bool] = False

    @record_arguments
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        dim: int = 128,
        depth: int = 3,
        heads: int = 12,
        head_dim: int = 64,
        kernel_multiplier: int = 2,
        out_norm: Norm = "group",
        encoding_scale: float = 1.0,
        periodic: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels, depth=depth, dim=dim)
        _divisible(2 * dim, 8, "2 * dim", "the head's norm has 8 groups")
        self.in_channels, self.periodic = in_channels, periodic
        self.lift = nn.Linear(in_channels, dim)
        self.layers = _encoder(
            2,
            dim,
            depth,
            heads,
            head_dim,
            kernel_multiplier,
            out_norm,
            encoding_scale,
            periodic,
            recompute,
        )
        self.skip = ConvSkip(dim, rank=2)
        self.head = PointHead(2 * dim, dim, out_channels)

    def forward(
        self, u: Float[Tensor, "b nx ny c"], coordinates: Sequence[Float[Tensor, " _"]]
    ) -> Float[Tensor, "b nx ny o"]:
        """u: normalised; coordinates: (nx,) and (ny,) in physical units."""
        check_field(u, 2, self.in_channels)
        coordinates = check_coordinates(
            coordinates, u.shape[1:-1], self.lift.weight, periodic=self.periodic
        )
        u = self.lift(u)
        for layer in self.layers:
            u = layer(u, coordinates)
        return self.head(torch.cat((self.skip(u), u), dim=-1))


class FactFormer2d(nn.Module):
    """Predicts the next frames of a 2-D field; the defaults are published for Kolmogorov flow.

    Li, Shu, Farimani, "Scalable Transformer for PDE Surrogate Modeling" (NeurIPS 2023), arXiv
    2305.17560; official code BaratiLab/FactFormer@c9801d162cb3 and its parent cd3e2638acf9.

    The frames of the input window are its channels. After the encoder each point's state is
    advanced in latent space, one frame per step.

    Args:
        input_steps: frames of the input window.
        max_steps: most frames of one call.
        head_dim: channels per head; heads * head_dim need not be dim.
        kernel_multiplier: width of the axis kernels' queries and keys over head_dim.
        latent_multiplier: channels of the state over dim; int(latent_multiplier * dim) must be
            divisible by 8.
        out_norm: "group", "row_instance" or "channel_instance", as in `FactFormerSteady2d`.
        encoding_scale: standard deviation of the encoding's frequencies [1 / unit of length].
        periodic: every axis closes on itself, its end point not repeated.
        recompute: keep no contracted values for the backward pass: less memory, more time.
    """

    time_window: ClassVar[bool] = True

    @record_arguments
    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        input_steps: int = 10,
        max_steps: int = 4,
        dim: int = 128,
        depth: int = 4,
        heads: int = 8,
        head_dim: int = 64,
        kernel_multiplier: int = 2,
        latent_multiplier: float = 2.0,
        out_norm: Norm = "group",
        encoding_scale: float = 8.0,
        periodic: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels, depth=depth, dim=dim)
        at_least(1, input_steps=input_steps, max_steps=max_steps)
        self.in_channels, self.input_steps, self.max_steps = in_channels, input_steps, max_steps
        self.periodic = periodic
        self.lift = LargeLinear(input_steps * in_channels, dim)
        self.layers = _encoder(
            2,
            dim,
            depth,
            heads,
            head_dim,
            kernel_multiplier,
            out_norm,
            encoding_scale,
            periodic,
            recompute,
        )
        latent, groups = _latent(dim, latent_multiplier, None)
        self.expand = LargeLinear(dim, latent, bias=False)
        self.marching = LatentMarching(
            latent, dim, out_channels, max_steps=max_steps, norm_groups=groups
        )

    def forward(
        self,
        u: Float[Tensor, "b t nx ny c"],
        coordinates: Sequence[Float[Tensor, " _"]],
        steps: int | None = None,
    ) -> Float[Tensor, "b steps nx ny o"]:
        """u: normalised frames, oldest first; coordinates in physical units; steps None = most."""
        check_field(u, 2, self.in_channels, self.input_steps)
        steps = check_steps(steps, self.max_steps)
        coordinates = check_coordinates(
            coordinates, u.shape[2:-1], self.lift.weight, periodic=self.periodic
        )
        # (time, channel) pairs are the channels
        u = self.lift(u.movedim(1, -2).flatten(-2))
        for layer in self.layers:
            u = layer(u, coordinates)
        return self.marching(self.expand(u), steps)


class FactFormer3d(nn.Module):
    """Predicts the next frames of 3-D fields; the defaults are published for buoyant smoke.

    Li, Shu, Farimani, "Scalable Transformer for PDE Surrogate Modeling" (NeurIPS 2023), arXiv
    2305.17560; official code BaratiLab/FactFormer@c9801d162cb3 and its parent cd3e2638acf9.
    The published turbulence model is depth=4, input_steps=10, max_steps=2, padding=0, skip=False,
    norm_groups=8, encoding_scale=8.0.

    Deviation: the convolutional branch accepts odd sizes too (the official one needs even ones).

    Args:
        padding: zero cells appended to the end of every axis inside the encoder.
        skip: add the convolutional branch.
        norm_groups: groups of the head's norm (None: int(8 * latent_multiplier)).
        dim: width of the tokens, divisible by 2 * in_channels.
        max_steps: most frames of one call.
        head_dim: channels per head; heads * head_dim need not be dim.
        kernel_multiplier: width of the axis kernels' queries and keys over head_dim.
        latent_multiplier: channels of the state over dim.
        out_norm: "group", "row_instance" or "channel_instance", as in `FactFormerSteady2d`.
        encoding_scale: standard deviation of the encoding's frequencies [1 / unit of length].
        periodic: every axis closes on itself, its end point not repeated; takes no padding.
        recompute: keep no contracted values for the backward pass: less memory, more time.
    """

    time_window: ClassVar[bool] = True

    @record_arguments
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        *,
        input_steps: int = 4,
        max_steps: int = 4,
        dim: int = 128,
        depth: int = 3,
        heads: int = 6,
        head_dim: int = 64,
        kernel_multiplier: int = 3,
        latent_multiplier: float = 1.5,
        padding: int = 2,
        skip: bool = True,
        norm_groups: int | None = None,
        out_norm: Norm = "group",
        encoding_scale: float = 1.0,
        periodic: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, in_channels=in_channels, out_channels=out_channels, depth=depth, dim=dim)
        at_least(1, input_steps=input_steps, max_steps=max_steps)
        at_least(0, padding=padding)
        if periodic and padding:
            raise ValueError(f"padding = {padding} would tear periodic axes apart, it must be 0")
        self.in_channels, self.input_steps, self.max_steps = in_channels, input_steps, max_steps
        self.periodic = periodic
        self.padding = padding
        self.lift = WindowLift(in_channels, input_steps, dim)
        self.layers = _encoder(
            3,
            dim,
            depth,
            heads,
            head_dim,
            kernel_multiplier,
            out_norm,
            encoding_scale,
            periodic,
            recompute,
        )
        self.skip = ConvSkip(dim, rank=3) if skip else None
        latent, groups = _latent(dim, latent_multiplier, norm_groups)
        self.expand = LargeLinear(2 * dim if skip else dim, latent, bias=False)
        self.marching = LatentMarching(
            latent, dim, out_channels, max_steps=max_steps, norm_groups=groups
        )

    def forward(
        self,
        u: Float[Tensor, "b t nx ny nz c"],
        coordinates: Sequence[Float[Tensor, " _"]],
        steps: int | None = None,
    ) -> Float[Tensor, "b steps nx ny nz o"]:
        """u: normalised frames, oldest first; steps None = most.

        coordinates: one tensor per axis in physical units, with as many entries as points, or
            `padding` more where the positions of the padded cells are given too.
        """
        check_field(u, 3, self.in_channels, self.input_steps)
        steps = check_steps(steps, self.max_steps)
        grid = u.shape[2:-1]
        coordinates = check_coordinates(
            coordinates, grid, self.expand.weight, extra=self.padding, periodic=self.periodic
        )
        u = pad_end(self.lift(u), self.padding)
        coordinates = [
            extend_axis(x, n, self.padding) for x, n in zip(coordinates, grid, strict=True)
        ]
        for layer in self.layers:
            u = layer(u, coordinates)
        u = u[:, : grid[0], : grid[1], : grid[2]]
        if self.skip is not None:
            u = torch.cat((self.skip(u), u), dim=-1)
        return self.marching(self.expand(u), steps)


def _encoder(
    rank: int,
    dim: int,
    depth: int,
    heads: int,
    head_dim: int,
    kernel_multiplier: int,
    out_norm: str,
    encoding_scale: float,
    periodic: bool,
    recompute: bool,
) -> nn.ModuleList:
    return nn.ModuleList(
        FactorizedLayer(
            FactorizedBlock(
                dim,
                heads,
                head_dim,
                rank,
                kernel_multiplier=kernel_multiplier,
                periodic=periodic,
                out_norm=out_norm,
                recompute=recompute,
            ),
            FourierEncoding(rank, dim, encoding_scale, [periodic] * rank),
        )
        for _ in range(depth)
    )


def _latent(dim: int, multiplier: float, norm_groups: int | None) -> tuple[int, int]:
    """Channels of the latent state and groups of the head's norm, checked."""
    latent, groups = int(dim * multiplier), int(8 * multiplier)
    given = norm_groups is not None
    if norm_groups is not None:
        at_least(1, norm_groups=norm_groups)
        groups = norm_groups
    elif groups < 1:
        raise ValueError(
            f"latent_multiplier is {multiplier}, but the head's norm has int(8 * "
            "latent_multiplier) groups: it must be at least 0.125"
        )
    _divisible(latent, 8, "int(latent_multiplier * dim)", "the head's first map has 8 groups")
    _divisible(dim, 8, "dim", "the head's first map has 8 groups")
    origin = "norm_groups" if given else "int(8 * latent_multiplier), the groups of the norm,"
    _divisible(latent, groups, "int(latent_multiplier * dim)", f"{origin} is {groups}")
    return latent, groups


def _divisible(value: int, by: int, name: str, reason: str) -> None:
    if value < by or value % by:
        raise ValueError(f"{name} = {value} must be a multiple of {by}: {reason}")
