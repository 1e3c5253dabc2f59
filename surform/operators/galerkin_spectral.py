"""Spectral convolutions on the lowest Fourier modes of a grid.

Only these modes are ever used, so they are taken and put back by matrix products with a truncated
Fourier basis: the rFFT of the published code cut to its modes, without the full spectrum, zero
padding or complex tensors, for any length of grid.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Basis", "SpectralConv1d", "SpectralConv2d"]


class Basis(NamedTuple):
    """Matrices that take the kept modes (real parts, then imaginary ones) and put them back.

    analysis (2 m, n) and synthesis (n, 2 m) of the last, real axis; rows (2 r, 2 n0) of the first,
    whose transpose goes back, on (point, real or imaginary).
    """

    analysis: Tensor
    synthesis: Tensor
    rows: Tensor | None = None


class SpectralConv1d(nn.Module):
    """Linear(x) plus a convolution given by complex weights on the modes k < `modes`.

    weight (in, out, modes, 2): real and imaginary part, for the orthonormal transform.
    """

    def __init__(self, in_channels: int, out_channels: int, modes: int, dropout: float) -> None:
        super().__init__()
        self.modes = modes
        self.linear, self.dropout = nn.Linear(in_channels, out_channels), nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, modes, 2))
        nn.init.xavier_normal_(self.weight, gain=1 / (in_channels * out_channels))

    def basis(self, x: Float[Tensor, "b n c"]) -> Basis:
        """The truncated Fourier basis on the grid of x; the same for every layer."""
        return Basis(*_real_axis(x.shape[1], self.modes, _full_precision(x)))

    def forward(self, x: Float[Tensor, "b n c"], basis: Basis) -> Float[Tensor, "b n o"]:
        shortcut = self.linear(x)
        with torch.autocast(x.device.type, enabled=False):
            x = _full_precision(self.dropout(x))
            x = (basis.analysis @ x).unflatten(1, (2, self.modes))  # (b, 2, m, c)
            x = _multiply(x.permute(2, 0, 1, 3), self.weight.permute(2, 0, 1, 3))  # (m, b, 2, o)
            x = shortcut + basis.synthesis @ x.permute(1, 2, 0, 3).flatten(1, 2)
        return x.to(self.linear.weight.dtype)


class SpectralConv2d(nn.Module):
    """The same on two axes: the modes k0 of both signs with |k0| below `modes`, 0 <= k1 < `modes`.

    weight (2, in, out, modes, modes, 2): for the rows k0 < modes, and for those from n0 - modes on.
    """

    def __init__(self, in_channels: int, out_channels: int, modes: int, dropout: float) -> None:
        super().__init__()
        self.modes = modes
        self.linear, self.dropout = nn.Linear(in_channels, out_channels), nn.Dropout(dropout)
        self.weight = nn.Parameter(torch.empty(2, in_channels, out_channels, modes, modes, 2))
        gain = math.sqrt(in_channels + out_channels) / (in_channels * out_channels)
        for half in self.weight.detach():
            nn.init.xavier_normal_(half, gain=gain)

    def basis(self, x: Float[Tensor, "b n0 n1 c"]) -> Basis:
        """The truncated Fourier bases on the grid of x; the same for every layer."""
        like = _full_precision(x)
        columns = _real_axis(x.shape[2], self.modes, like)
        return Basis(*columns, _complex_axis(x.shape[1], self.modes, like))

    def forward(self, x: Float[Tensor, "b n0 n1 c"], basis: Basis) -> Float[Tensor, "b n0 n1 o"]:
        shortcut = self.linear(x)
        rows, modes = cast(Tensor, basis.rows), self.modes
        with torch.autocast(x.device.type, enabled=False):
            x = _full_precision(self.dropout(x))
            x = (basis.analysis @ x).unflatten(2, (2, modes))  # (b, n0, 2, m, c)
            x = rows @ x.flatten(1, 2).flatten(2)  # (b, 2 r, m c)
            x = x.unflatten(1, (2, -1)).unflatten(3, (modes, -1))  # (b, 2, r, m, c)
            x = x.permute(2, 3, 0, 1, 4).flatten(0, 1)
            x = _multiply(x, self._row_weights(rows.shape[0] // 2))  # (r m, b, 2, o)
            x = x.unflatten(0, (-1, modes)).permute(2, 3, 0, 1, 4)  # (b, 2, r, m, o)
            x = rows.T @ x.flatten(1, 2).flatten(2)  # (b, n0 2, m o)
            x = x.unflatten(1, (-1, 2)).unflatten(3, (modes, -1))  # (b, n0, 2, m, o)
            x = shortcut + basis.synthesis @ x.flatten(2, 3)
        return x.to(self.linear.weight.dtype)

    def _row_weights(self, rows: int) -> Tensor:
        """(rows * modes, in, out, 2): where the two halves overlap the second one counts."""
        low, high = self.weight.unbind(0)
        weight = torch.cat((low[:, :, : rows - self.modes], high), dim=2)
        return weight.permute(2, 3, 0, 1, 4).flatten(0, 1)


def _real_axis(points: int, modes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    if modes > points // 2 + 1:
        raise ValueError(f"modes {modes} needs a grid of at least {2 * modes - 2}, not {points}")
    kept = torch.arange(modes, device=like.device)
    cosine, sine = _waves(points, kept, like)
    analysis = torch.cat((cosine, -sine))
    # Every mode but 0 and the highest of an even grid stands for its negative twin as well.
    single = (kept == 0) | (2 * kept == points)
    count = torch.where(single, 1.0, 2.0).to(like.dtype).repeat(2)
    return analysis, (analysis * count[:, None]).T


def _complex_axis(points: int, modes: int, like: Tensor) -> Tensor:
    if modes > points:
        raise ValueError(f"modes {modes} needs a grid of at least {modes} rows, not {points}")
    low = torch.arange(min(modes, points - modes), device=like.device)
    high = torch.arange(points - modes, points, device=like.device)
    cosine, sine = _waves(points, torch.cat((low, high)), like)
    real = torch.stack((cosine, sine), dim=-1).flatten(1)  # acts on (point, real or imaginary)
    imaginary = torch.stack((-sine, cosine), dim=-1).flatten(1)
    return torch.cat((real, imaginary))


def _waves(points: int, modes: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi k j / n over sqrt(n), (modes, points)."""
    index = torch.arange(points, device=like.device)
    angle = index.double() * (2 * math.pi / points)
    # The phase is reduced while it is a whole number: exact for any mode, and few cosines.
    phase = torch.outer(modes, index) % points
    scale = points**-0.5
    return tuple((wave(angle) * scale).to(like.dtype)[phase] for wave in (torch.cos, torch.sin))


def _multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Complex product per mode, in real numbers: (k, b, 2, i), (k, i, o, 2) -> (k, b, 2, o)."""
    matrix = weight.to(x.dtype).transpose(2, 3).flatten(2)  # (k, i, 2 o)
    product = (x.flatten(1, 2) @ matrix).unflatten(2, (2, -1)).unflatten(1, (-1, 2))
    (rr, ri), (ir, ii) = (part.unbind(2) for part in product.unbind(2))  # (k, b, o) each
    return torch.stack((rr - ii, ri + ir), dim=2)


def _full_precision(x: Tensor) -> Tensor:
    """Spectra of half-precision fields are taken in float32."""
    return x if x.dtype == torch.float64 else x.float()
