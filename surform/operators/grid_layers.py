"""Parts of grid models besides attention: lifts, convolutional skips, padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.layers.tokenwise import tokenwise

__all__ = ["ConvSkip", "WindowLift", "extend_axis", "pad_end"]


class ConvSkip(nn.Module):
    """Instance norm, two convolutions at half the resolution, back to the grid, two more."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim = {dim} must be even: the convolutional branch halves it")
        conv = nn.Conv2d if rank == 2 else nn.Conv3d
        half = dim // 2
        self.down = nn.ModuleList(
            (conv(dim, half, 3, stride=2, padding=1), conv(half, half, 3, padding=1))
        )
        self.up = nn.ModuleList((conv(half, half, 3, padding=1), conv(half, dim, 3, padding=1)))

    def forward(self, u: Float[Tensor, "b *grid c"]) -> Float[Tensor, "b *grid c"]:
        x = F.instance_norm(u.movedim(-1, 1))
        x = self.down[1](F.gelu(self.down[0](x)))
        x = F.interpolate(x, size=u.shape[1:-1], mode="nearest")
        return self.up[1](F.gelu(self.up[0](x))).movedim(1, -1)


class WindowLift(nn.Module):
    """Each channel of each frame -> dim / 2 features -> GELU -> one map over all of them."""

    def __init__(self, in_channels: int, input_steps: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        if half % in_channels or dim % 2:
            raise ValueError(
                f"dim = {dim} must be a multiple of 2 * in_channels = {2 * in_channels}: each "
                "channel is lifted on its own to the same number of features"
            )
        self.weight = nn.Parameter(torch.empty(half).uniform_(-1, 1))  # fan-in 1, as a convolution
        self.bias = nn.Parameter(torch.empty(half).uniform_(-1, 1))
        self.mix = nn.Linear(input_steps * half, dim, bias=False)
        self.in_channels = in_channels

    def forward(self, u: Float[Tensor, "b t *grid c"]) -> Float[Tensor, "b *grid d"]:
        frames = u.movedim(1, -2)  # (b, *grid, t, c)
        width = frames.shape[-2] * frames.shape[-1]
        rows = frames.reshape(*frames.shape[:-2], width)
        return tokenwise(self.features, rows, (self.weight, self.bias), self.mix.weight)

    def features(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(..., t * c) -> (..., t * half): every channel times its own features."""
        frames = rows.unflatten(-1, (-1, self.in_channels, 1))  # (..., t, c, 1)
        per_channel = (self.in_channels, -1)
        return F.gelu(
            torch.addcmul(bias.view(per_channel), frames, weight.view(per_channel))
        ).flatten(-3)


def pad_end(u: Float[Tensor, "b *grid c"], cells: int) -> Float[Tensor, "b *padded c"]:
    """Zeros appended to the end of every axis of the grid."""
    return F.pad(u, [0, 0, *([0, cells] * (u.ndim - 2))]) if cells else u


def extend_axis(x: Float[Tensor, " n"], points: int, cells: int) -> Float[Tensor, " padded"]:
    """Coordinates of the padded cells appended, spaced by length / points; given ones are kept."""
    if not cells or len(x) == points + cells:
        return x
    spacing = (x[-1] - x[0]) / points
    steps = torch.arange(1, cells + 1, dtype=x.dtype, device=x.device)
    return torch.cat((x, x[-1] + spacing * steps))
