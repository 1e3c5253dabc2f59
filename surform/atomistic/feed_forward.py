"""Feed-forward maps of equivariant features: on the grid of a sphere, or with gates."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surform.atomistic.constants import Constants
from surform.atomistic.layout import Layout
from surform.atomistic.so3_linear import SO3Linear
from surform.atomistic.sphere_activation import gated, on_the_sphere, separable
from surform.atomistic.sphere_grid import SphereGrid
from surform.layers.blocking import works_in_blocks
from surform.layers.recomputed import recomputed

__all__ = ["EquivariantFeedForward"]

_CACHED = 1 << 19  # numbers on the grid that are worked on at a time, on a CPU


class EquivariantFeedForward(nn.Module):
    """(N, (lmax + 1)^2, C) -> (N, (lmax + 1)^2, out).

    Args:
        grid: of full features.
        activation: "separable_s2" (degree 0 apart), "s2" or "gate".
        grid_mlp: three linear maps of the values on the grid instead of a SiLU of them.
        recompute: values on the grid are made again in the backward pass.
    """

    def __init__(
        self,
        layout: Layout,
        grid: SphereGrid,
        channels: int,
        hidden: int,
        out_channels: int,
        *,
        activation: str,
        grid_mlp: bool,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.grid, self.activation, self.recompute = grid, activation, recompute
        self.linear1 = SO3Linear(layout.lmax, channels, hidden)
        self.linear2 = SO3Linear(layout.lmax, hidden, out_channels)
        self.degrees = Constants(rows=torch.tensor(layout.degrees))
        apart = {"separable_s2": hidden, "s2": 0, "gate": 0 if grid_mlp else layout.lmax * hidden}
        width = apart[activation]
        self.scalar = nn.Linear(channels, width) if width else None
        maps = [nn.Linear(hidden, hidden, bias=False) for _ in range(3)] if grid_mlp else []
        self.grid_mlp = nn.ModuleList(maps)

    def forward(self, x: Float[Tensor, "n s c"]) -> Float[Tensor, "n s o"]:
        gate = None if self.scalar is None else self.scalar(x[:, 0])
        x = self.linear1(x)
        if not len(self.grid_mlp):
            return self.linear2(self._activated(x, gate))
        if gate is None:
            return self.linear2(self._on_the_grid(x, self.grid.back))
        rest = self._on_the_grid(x, self.grid.back[1:])
        return self.linear2(torch.cat((F.silu(gate)[:, None], rest), dim=1))

    def invariant(self, x: Float[Tensor, "n s c"]) -> Float[Tensor, "n o"]:
        """Degree 0 of the result; of the rest only what that needs is computed."""
        if self.activation == "separable_s2":
            assert self.scalar is not None
            return self.linear2.scalar(F.silu(self.scalar(x[:, 0])))
        if len(self.grid_mlp):
            return self.linear2.scalar(self._on_the_grid(self.linear1(x), self.grid.back[:1])[:, 0])
        if self.activation == "gate":
            return self.linear2.scalar(F.silu(self.linear1.scalar(x[:, 0])))
        found = on_the_sphere(self.linear1(x), self.grid.forth, self.grid.back[:1])
        return self.linear2.scalar(found[:, 0])

    def _activated(self, x: Tensor, gate: Tensor | None) -> Tensor:
        if self.activation == "gate":
            assert gate is not None
            return gated(x, gate, self.degrees["rows"])
        if gate is None:
            return on_the_sphere(x, self.grid.forth, self.grid.back)
        return separable(x, gate, self.grid.forth, self.grid.back)

    def _on_the_grid(self, x: Tensor, back: Tensor) -> Tensor:
        forth, back = self.grid.forth.to(x.dtype), back.to(x.dtype)

        def mapped(part: Tensor) -> Tensor:
            values = forth @ part
            for i, linear in enumerate(self.grid_mlp):
                values = linear(F.silu(values) if i else values)
            return back @ values

        keeps = torch.is_grad_enabled() and not self.recompute
        if keeps or not works_in_blocks(x):
            return _again(mapped, x) if self.recompute else mapped(x)
        step = max(1, _CACHED * torch.get_num_threads() // (len(forth) * x.shape[2]))
        return torch.cat([_again(mapped, part) for part in x.split(step)])


def _again(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return recomputed(function, x)
