"""Energy by scale, and the integrals of two-dimensional flow, on periodic grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from surform.data.description import FieldsDescription
from surform.rollout.observers import Observer, Quantity, VariableObserver, space

__all__ = ["EnergySpectrum", "Enstrophy", "KineticEnergy", "radial_spectrum", "wavenumber_norm"]


def wavenumber_norm(shape: Sequence[int], lengths: Sequence[float], like: Tensor) -> Tensor:
    """|k| of every mode of `rfftn` on a periodic box with these side lengths."""
    squares = torch.zeros((), dtype=like.dtype, device=like.device)
    for axis, (points, length) in enumerate(zip(shape, lengths, strict=True)):
        make = torch.fft.rfftfreq if axis == len(shape) - 1 else torch.fft.fftfreq
        k = make(points, length / points, dtype=like.dtype, device=like.device) * 2 * math.pi
        squares = squares.unsqueeze(-1) + k.square()
    return squares.sqrt()


def radial_spectrum(field: Tensor, lengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Half the variance of a periodic field by shells of the wavenumber.

    The shells are `dk` wide about whole multiples of `dk = 2 pi / max(lengths)`, and sum to
    `mean(field**2) / 2` (Parseval).

    Args:
        field: `(..., *grid)`, one grid axis per length.
        lengths: the period along each axis.

    Returns:
        Wavenumbers `(K,)` and energies `(..., K)`.
    """
    power, norm = _half_power(field, lengths)
    return _shells(power, norm, 2 * math.pi / max(lengths))


class EnergySpectrum(VariableObserver):
    """`<variable>_spectrum`: see `radial_spectrum`; needs a periodic grid.

    Args:
        vorticity: name of a 2-D vorticity; its `<name>_kinetic_spectrum` is the spectrum of the
            kinetic energy of the flow, `|w_k|^2 / (2 k^2)`.
    """

    metric = "spectrum"
    dims = ("wavenumber",)

    def __init__(self, vorticity: str | None = None) -> None:
        self.vorticity = vorticity

    def start(self, grid: FieldsDescription, initial: Tensor) -> None:
        super().start(grid, initial)
        self.lengths = periods(grid)
        if self.vorticity is not None:
            _require_vorticity(grid, self.vorticity)

    def of_field(self, field: Tensor, truth: Tensor) -> Tensor:
        return radial_spectrum(field, self.lengths)[1]

    def units(self, units: str) -> str:
        return power(units, 2)

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        measured = super().measure(frame, truth)
        if self.vorticity is not None:
            field = frame[..., self.grid.targets.index(self.vorticity)]
            energy, norm = _half_power(field, self.lengths)
            energy = energy / norm.square().clamp_min(torch.finfo(norm.dtype).tiny)
            values = _shells(energy * (norm > 0), norm, 2 * math.pi / max(self.lengths))[1]
            units = velocity_squared(self.grid, self.vorticity)
            name = f"{self.vorticity}_kinetic_spectrum"
            measured[name] = Quantity(values, units, self.dims)
        return measured

    def coordinates(self) -> dict[str, Any]:
        k, _ = radial_spectrum(self.initial[:1, :1, ..., 0], self.lengths)
        units = self.grid.units.get(self.grid.axes[0], "1")
        return {"wavenumber": ("wavenumber", k.cpu().numpy(), {"units": power(units, -1)})}


class Enstrophy(Observer):
    """`enstrophy`: half the mean square of a 2-D vorticity."""

    def __init__(self, vorticity: str = "vorticity") -> None:
        self.vorticity = vorticity

    def start(self, grid: FieldsDescription, initial: Tensor) -> None:
        super().start(grid, initial)
        _require_vorticity(grid, self.vorticity)

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        field = frame[..., self.grid.targets.index(self.vorticity)]
        units = power(self.grid.units.get(self.vorticity, "1"), 2)
        return {"enstrophy": Quantity(field.square().mean(space(field)) / 2, units)}


class KineticEnergy(Observer):
    """`kinetic_energy`: half the mean square velocity.

    Args:
        velocity: names of the velocity components; or
        vorticity: name of a 2-D vorticity on a periodic grid, whose flow is found by Biot-Savart.
    """

    def __init__(self, velocity: Sequence[str] = (), vorticity: str | None = None) -> None:
        if bool(velocity) == (vorticity is not None):
            raise ValueError("KineticEnergy needs either velocity components or a vorticity")
        self.velocity = tuple(velocity)
        self.vorticity = vorticity

    def start(self, grid: FieldsDescription, initial: Tensor) -> None:
        super().start(grid, initial)
        if self.vorticity is not None:
            _require_vorticity(grid, self.vorticity)
            self.lengths = periods(grid)
        missing = [name for name in self.velocity if name not in grid.targets]
        if missing:
            raise ValueError(f"no target is called {missing[0]!r}: {', '.join(grid.targets)}")

    def measure(self, frame: Tensor, truth: Tensor) -> dict[str, Quantity]:
        targets = self.grid.targets
        if self.vorticity is None:
            fields = [frame[..., targets.index(name)] for name in self.velocity]
            values = torch.stack([f.square().mean(space(f)) / 2 for f in fields]).sum(0)
            units = power(self.grid.units.get(self.velocity[0], "1"), 2)
            return {"kinetic_energy": Quantity(values, units)}
        energy, norm = _half_power(frame[..., targets.index(self.vorticity)], self.lengths)
        energy = energy / norm.square().clamp_min(torch.finfo(norm.dtype).tiny)
        values = (energy * (norm > 0)).flatten(-norm.ndim).sum(-1)
        return {"kinetic_energy": Quantity(values, velocity_squared(self.grid, self.vorticity))}


def periods(grid: FieldsDescription) -> list[float]:
    """The length of the box along each axis; ValueError where an axis is not periodic."""
    for axis in grid.axes:
        if not grid.periodic.get(axis, False):
            raise ValueError(f"axis {axis!r} is not periodic: it has no Fourier spectrum")
    spans = ((grid.coordinates[axis], n) for axis, n in zip(grid.axes, grid.shape, strict=True))
    return [(points[-1] - points[0]) * n / max(n - 1, 1) for points, n in spans]


def power(units: str, exponent: int) -> str:
    """ "(m/s)^2"; dimensionless stays "1"."""
    if units in ("", "1"):
        return "1"
    return f"({units})^{exponent}" if any(c in units for c in " /*^") else f"{units}^{exponent}"


def velocity_squared(grid: FieldsDescription, vorticity: str) -> str:
    """Units of a squared velocity from those of a vorticity and of length."""
    parts = [grid.units.get(vorticity, "1"), grid.units.get(grid.axes[0], "1")]
    return power(" ".join(part for part in parts if part not in ("", "1")), 2)


def _require_vorticity(grid: FieldsDescription, name: str) -> None:
    if name not in grid.targets:
        raise ValueError(f"no target is called {name!r}: {', '.join(grid.targets)}")
    if len(grid.axes) != 2:
        raise ValueError(f"a scalar vorticity lives on 2 axes, not on {len(grid.axes)}")


def _half_power(field: Tensor, lengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Half of |f_k|^2 per mode, both signs of the last wavenumber in one, and |k|."""
    axes = tuple(range(-len(lengths), 0))
    shape = field.shape[-len(lengths) :]
    energy = torch.fft.rfftn(field, dim=axes, norm="forward").abs().square() / 2
    twice = torch.full((energy.shape[-1],), 2.0, dtype=energy.dtype, device=energy.device)
    twice[0] = 1
    if shape[-1] % 2 == 0:
        twice[-1] = 1
    return energy * twice, wavenumber_norm(shape, lengths, energy)


def _shells(energy: Tensor, norm: Tensor, width: float) -> tuple[Tensor, Tensor]:
    shell = (norm / width).round().long().flatten()
    count = int(shell.max()) + 1
    sums = energy.new_zeros(*energy.shape[: -norm.ndim], count)
    sums.index_add_(-1, shell, energy.flatten(-norm.ndim))
    return torch.arange(count, dtype=energy.dtype, device=energy.device) * width, sums
