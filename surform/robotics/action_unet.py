"""A conditional U-Net along the actions of a chunk, which predicts the noise in them.

Chi et al., "Diffusion Policy: Visuomotor Policy Learning via Action Diffusion", 2023
(arXiv 2303.04137).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.layers.checks import at_least

__all__ = ["ActionUNet"]


class ConvBlock(nn.Sequential):
    """Convolution, group norm, Mish: (b, c, t) -> (b, out, t)."""

    def __init__(self, channels: int, out: int, kernel: int, groups: int) -> None:
        super().__init__(
            nn.Conv1d(channels, out, kernel, padding=kernel // 2),
            nn.GroupNorm(groups, out),
            nn.Mish(),
        )


class ResidualBlock(nn.Module):
    """Two convolutions, scaled and shifted in between: (b, c, t) -> (b, out, t)."""

    def __init__(self, channels: int, out: int, known: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, out, kernel, groups)
        self.second = ConvBlock(out, out, kernel, groups)
        self.film = nn.Linear(known, 2 * out)
        self.skip = nn.Identity() if channels == out else nn.Conv1d(channels, out, 1)

    def forward(self, x: Float[Tensor, "b c t"], known: Float[Tensor, "b k"]) -> Tensor:
        scale, shift = self.film(known)[..., None].chunk(2, 1)
        return self.second(torch.addcmul(shift, scale, self.first(x))) + self.skip(x)


class ActionUNet(nn.Module):
    """The noise in actions (b, t, a) at times (b,), told a vector (b, c).

    Args:
        known: width of the vector.
        channels: of each resolution; t is halved between two of them.
        kernel: odd.
        time_dim: width of the diffusion time's embedding; even.
    """

    def __init__(
        self,
        action_dim: int,
        known: int,
        channels: Sequence[int],
        kernel: int = 3,
        groups: int = 8,
        time_dim: int = 64,
    ) -> None:
        super().__init__()
        at_least(1, kernel=kernel, groups=groups)
        at_least(4, time_dim=time_dim)
        if not channels or any(each % groups for each in channels):
            raise ValueError(
                f"unet_channels is {list(channels)}, but must be multiples of groups = {groups}"
            )
        if kernel % 2 == 0 or time_dim % 2:
            raise ValueError(f"kernel is {kernel} and must be odd, time_dim {time_dim} even")
        self.known, self.time_dim, told = known, time_dim, known + time_dim
        self.time = nn.Sequential(
            nn.Linear(time_dim, 4 * time_dim), nn.Mish(), nn.Linear(4 * time_dim, time_dim)
        )

        def pair(a: int, b: int) -> nn.ModuleList:
            return nn.ModuleList(
                (
                    ResidualBlock(a, b, told, kernel, groups),
                    ResidualBlock(b, b, told, kernel, groups),
                )
            )

        steps = list(itertools.pairwise((action_dim, *channels)))
        self.down = nn.ModuleList(pair(a, b) for a, b in steps)
        self.downsample = nn.ModuleList(nn.Conv1d(c, c, 3, 2, 1) for c in channels[:-1])
        self.middle = pair(channels[-1], channels[-1])
        self.up = nn.ModuleList(pair(2 * b, a) for a, b in reversed(steps[1:]))
        self.upsample = nn.ModuleList(
            nn.ConvTranspose1d(a, a, 4, 2, 1) for a, _ in reversed(steps[1:])
        )
        self.last = ConvBlock(channels[0], channels[0], kernel, groups)
        self.out = nn.Conv1d(channels[0], action_dim, 1)

    def forward(
        self,
        actions: Float[Tensor, "b t a"],
        time: Int[Tensor, " b"],
        known: Float[Tensor, "b c"],
    ) -> Float[Tensor, "b t a"]:
        """Raises ValueError where the chunk cannot be halved as often as there are resolutions,
        or anything has another shape."""
        sizes = (self.out.out_channels, self.known)
        fits = actions.ndim == 3 and time.shape == actions.shape[:1] and known.ndim == 2
        if (
            not fits
            or (actions.shape[2], known.shape[1]) != sizes
            or known.shape[0] != actions.shape[0]
        ):
            raise ValueError(
                f"actions of shape {tuple(actions.shape)}, times of {tuple(time.shape)} and a "
                f"vector of {tuple(known.shape)} must be (b, t, {sizes[0]}), (b,) and "
                f"(b, {sizes[1]})"
            )
        self.check_length(actions.shape[1])
        told = F.mish(torch.cat((self._time(time, known), known), -1))
        x, kept = actions.transpose(1, 2), []
        for number, (first, second) in enumerate(self.down):  # type: ignore[misc]
            x = second(first(x, told), told)
            kept.append(x)
            x = self.downsample[number](x) if number < len(self.downsample) else x
        for block in self.middle:
            x = block(x, told)
        for number, (first, second) in enumerate(self.up):  # type: ignore[misc]
            x = second(first(torch.cat((x, kept.pop()), 1), told), told)
            x = self.upsample[number](x)
        return self.out(self.last(x)).transpose(1, 2)

    def check_length(self, actions: int) -> None:
        """ValueError unless chunks of so many actions can be halved and doubled again."""
        factor = 2 ** len(self.downsample)
        if actions % factor:
            raise ValueError(
                f"chunks have {actions} actions, but the U-Net halves them "
                f"{len(self.downsample)} times: take a multiple of {factor}"
            )

    def _time(self, time: Tensor, like: Tensor) -> Tensor:
        half = self.time_dim // 2
        steps = torch.arange(half, device=like.device, dtype=torch.float32)
        rates = torch.exp(steps * -(math.log(10000) / (half - 1))).to(like.dtype)
        angles = time[:, None].to(like.dtype) * rates
        return self.time(torch.cat((angles.sin(), angles.cos()), -1))
