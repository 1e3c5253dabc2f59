"""How a channel flow begins: the laminar profile and noise."""

from __future__ import annotations

import torch
from torch import Tensor

from surform.data.solvers.channel_modes import Flow
from surform.data.solvers.channel_step import ChannelEquation
from surform.data.solvers.samples import Samples

__all__ = ["laminar", "noisy_start", "refined"]

_WAVES, _MODES = 4, 6  # the longest waves along x and z, the slowest modes of each kind across


def laminar(equation: ChannelEquation, batch: int) -> Flow:
    """The flow u = 1 - y^2."""
    modes, (fine_x, fine_z) = equation.modes, equation.fine
    profile = torch.from_numpy(1 - equation.y**2).to(**modes.options)
    fields = torch.zeros(3, len(profile), batch, fine_x, fine_z, **modes.options)
    fields[0] = profile[:, None, None, None]
    return equation.project(fields)


def noisy_start(equation: ChannelEquation, samples: Samples, noise: float) -> Flow:
    """The laminar flow with divergence-free noise.

    The same numbers make the same noise on every grid: they are the amplitudes of the longest
    waves and slowest modes.

    Args:
        equation: of the flow.
        samples: their random numbers are used.
        noise: its root mean square velocity over the laminar centreline velocity.
    """
    modes, start = equation.modes, laminar(equation, len(samples))
    if noise == 0:
        return start
    numbers = samples.normal(3, _MODES, 2 * _WAVES + 1, _WAVES + 1, 2).to(modes.options["dtype"])
    counts = (*(part.shape[-1] for part in modes.parts), len(modes.toroidal_rates))
    even, odd, toroidal = (
        _place(n, start.toroidal.new_zeros(count, *start.toroidal.shape[1:]))
        for n, count in zip(numbers.unbind(1), counts, strict=True)
    )
    poloidal = modes.rows(torch.cat([even, odd]))
    raw = Flow(poloidal, toroidal, torch.zeros_like(start.mean))
    # through real space, so that the waves (kx, 0) and (-kx, 0) belong to one real field
    fields = equation.physical(modes.velocity(raw, equation.at))
    real = equation.project(fields)
    scale = noise / modes.energy(real).sqrt()  # the mean of |u|^2 is 2 energy / height
    rows = scale[:, None].expand(-1, 2).repeat(2, 1).flatten()[:, None]
    return Flow(
        start.poloidal + real.poloidal * rows,
        start.toroidal + real.toroidal * scale[:, None, None, None],
        start.mean,
    )


def refined(flow: Flow, coarse: ChannelEquation, fine: ChannelEquation) -> Flow:
    """A flow on the points of another equation, at least as many: the same velocity."""
    few = coarse.modes.velocity(flow, coarse.modes.sampler(fine.y))
    half, m = coarse.modes.half_x, coarse.modes.half_z
    many = few.new_zeros(*few.shape[:-2], fine.modes.points[0], fine.modes.half_z)
    many[..., :half, :m] = few[..., :half, :]
    many[..., many.shape[-2] - half + 1 :, :m] = few[..., half + 1 :, :]
    return fine.project(fine.physical(many))


def _place(numbers: Tensor, out: Tensor) -> Tensor:
    """Write numbers (B, modes, waves, waves, 2) to their places in amplitudes (n, B, nx, m, 2)."""
    nx, m = out.shape[2:4]
    modes, across = min(_MODES, len(out)), min(_WAVES + 1, m)
    for wave in range(-_WAVES, _WAVES + 1):
        if abs(wave) < nx // 2:
            values = numbers[:, :modes, wave + _WAVES, :across].transpose(0, 1)
            out[:modes, :, wave % nx, :across] = values
    return out
