"""Statistics of a turbulent flow with homogeneous axes, gathered frame by frame.

    statistics = FlowStatistics(("u", "v", "w"), {"x": x, "y": y, "z": z}, homogeneous=("x", "z"))
    for frame in frames:                     # (B, nx, ny, nz, C), in physical units
        statistics.update(frame)
    statistics.result()                      # xarray: profiles over y, spectra along x and z

Memory does not grow with the number of frames. Leading dims, here samples, are kept apart until
`result` pools them; frames of a rollout that are no longer finite count for nothing. Two flows (a
prediction and the truth) are compared by two accumulators with the same `edges`. Whole data sets:
`turbulence_files.flow_statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

__all__ = ["FlowStatistics", "bin_edges", "line_spectrum"]


def line_spectrum(field: Tensor, length: float, dim: int) -> tuple[Tensor, Tensor]:
    """One-sided spectral density of a periodic field along one axis.

    The sum over wavenumbers times `2 pi / length` is the variance about the mean of each line.

    Args:
        field: real values, any shape.
        length: the period along the axis.
        dim: the axis.

    Returns:
        Wavenumbers above 0, `(K,)`, and densities, the axis replaced by `K`.
    """
    points = field.shape[dim]
    power = torch.fft.rfft(field, dim=dim, norm="forward").abs().square()
    count = power.shape[dim] - 1
    width = 2 * math.pi / length
    density = power.narrow(dim, 1, count) * (2 / width)
    if points % 2 == 0:
        density.narrow(dim, count - 1, 1).mul_(0.5)  # the last wave has no partner of its own
    return width * torch.arange(1, count + 1, dtype=field.dtype), density


def bin_edges(frames: Tensor, bins: int = 64) -> list[Tensor]:
    """Edges of histograms, one `(bins + 1,)` per variable, half a range beyond these frames.

    Args:
        frames: `(..., C)`, typical values of the flow.
        bins: number of bins.
    """
    flat = frames.double().flatten(0, -2)
    low, high = flat.amin(0), flat.amax(0)
    margin = ((high - low) / 2).clamp_min(1e-12)
    return [
        torch.linspace(float(a), float(b), bins + 1, dtype=torch.float64)
        for a, b in zip(low - margin, high + margin, strict=True)
    ]


class FlowStatistics:
    """Mean, rms, Reynolds stresses, spectra and histograms of the frames that it is shown.

    Args:
        variables: names of the C channels.
        coordinates: positions along each axis, in the order of the grid; evenly spaced and without
            the repeated end point along homogeneous axes.
        homogeneous: axes to average over, along which the flow is periodic. The others, the
            wall-normal one of a channel, keep their place in the results.
        edges: one tensor of bin edges per variable, see `bin_edges`; None leaves histograms out.
        units: of variables and axes, by name; "1" where nothing is said.

    Attributes:
        sums: all that has been seen, as tensors by name. Those of parts of a flow add up to those
            of the whole; they may be stored, and set to go on.

    Raises:
        ValueError: axes or edges that do not fit.
    """

    def __init__(
        self,
        variables: Sequence[str],
        coordinates: Mapping[str, Sequence[float] | np.ndarray],
        homogeneous: Sequence[str],
        edges: Sequence[Tensor] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.variables, self.axes = tuple(variables), tuple(coordinates)
        self.coordinates = {name: np.asarray(v, float) for name, v in coordinates.items()}
        unknown = [axis for axis in homogeneous if axis not in self.axes]
        if unknown or not homogeneous:
            raise ValueError(
                f"homogeneous is {', '.join(homogeneous) or 'empty'}: choose axes of "
                f"{', '.join(self.axes)}"
            )
        if edges is not None and len(edges) != len(self.variables):
            raise ValueError(f"{len(edges)} bin edges for {len(self.variables)} variables")
        self.homogeneous = tuple(axis for axis in self.axes if axis in homogeneous)
        self.kept = tuple(axis for axis in self.axes if axis not in homogeneous)
        self.edges = None if edges is None else [edge.double() for edge in edges]
        self.units = dict(units or {})
        self.lengths = {axis: _period(self.coordinates[axis]) for axis in self.homogeneous}
        self.sums: dict[str, Tensor] = {}

    def update(self, frames: Tensor) -> None:
        """See frames `(..., *grid, C)`; the leading dims must be the same at every call."""
        grid = tuple(len(self.coordinates[axis]) for axis in self.axes)
        lead = frames.ndim - len(grid) - 1
        if lead < 0 or tuple(frames.shape[lead:]) != (*grid, len(self.variables)):
            raise ValueError(
                f"frames have shape {tuple(frames.shape)}, expected (..., "
                f"{', '.join(map(str, (*grid, len(self.variables))))})"
            )
        values = frames.detach().cpu().double()
        finite = values.flatten(lead).isfinite().all(-1)
        values = torch.where(finite[(..., *[None] * (values.ndim - lead))], values, 0.0)
        sums = self._sums_of(values, lead)
        weights = {name: finite[(..., *[None] * (s.ndim - lead))] for name, s in sums.items()}
        sums = {name: s * weights[name] for name, s in sums.items()} | {"frames": finite.double()}
        for name, added in sums.items():
            self.sums[name] = self.sums[name] + added if name in self.sums else added

    def result(self, lead: Sequence[str] = ()) -> xr.Dataset:
        """What has been seen, as labelled arrays.

        Per variable `<u>_mean` and `<u>_rms`, `<u>_spectrum_<axis>` (see `line_spectrum`) and
        `<u>_pdf` (density over `<u>_value`; values beyond the outer edges count in the outer
        bins); per pair of them `<u>_<v>_stress`, the Reynolds stress -<u'v'>. The number of frames
        is `frames`.

        Args:
            lead: names of the leading dims, to keep them apart; by default they are pooled.
        """
        if not self.sums:
            raise ValueError("no frame has been seen")
        sums, frames = self.sums, self.sums["frames"]
        if not lead:
            sums = {name: s.flatten(0, frames.ndim - 1).sum(0) if frames.ndim else s
                    for name, s in sums.items()}  # fmt: skip
            frames = sums["frames"]
        elif len(lead) != frames.ndim:
            raise ValueError(f"{len(lead)} names for {frames.ndim} leading dims: {', '.join(lead)}")
        means = {name: s / frames[(..., *[None] * (s.ndim - frames.ndim))]
                 for name, s in sums.items() if name != "frames"}  # fmt: skip
        dims = (*lead, *self.kept)
        found = self._profiles(means, dims) | self._spectra(means, dims) | self._pdfs(sums, dims)
        found["frames"] = xr.Variable(tuple(lead), frames.numpy(), {"units": "1"})
        axes = {
            axis: (axis, self.coordinates[axis], {"units": self._unit(axis)}) for axis in self.kept
        }
        return xr.Dataset(found, coords=axes | self._waves() | self._values())

    def _sums_of(self, values: Tensor, lead: int) -> dict[str, Tensor]:
        """Means over the homogeneous axes of one frame, by name, dims (*lead, *kept, ...)."""
        place = {axis: lead + i for i, axis in enumerate(self.axes)}
        order = (
            *range(lead),
            *(place[a] for a in self.kept),
            *(place[a] for a in self.homogeneous),
        )
        values = values.permute(*order, values.ndim - 1)
        first = lead + len(self.kept)
        points = values.flatten(first, -2)  # (*lead, *kept, points, C)
        sums = {
            "mean": points.mean(-2),
            "product": points.transpose(-1, -2) @ points / points.shape[-2],
        }
        for i, axis in enumerate(self.homogeneous):
            density = line_spectrum(values, self.lengths[axis], first + i)[1]
            others = [first + j for j in range(len(self.homogeneous)) if j != i]
            density = density.mean(others) if others else density
            sums[f"spectrum_{axis}"] = density.transpose(-1, -2)  # (*lead, *kept, C, K)
        for channel, edge in enumerate(self.edges or ()):
            sums[f"count_{channel}"] = _histogram(points[..., channel].contiguous(), edge)
        return sums

    def _profiles(self, means: Mapping[str, Tensor], dims: tuple[str, ...]) -> dict:
        mean, product = means["mean"], means["product"]
        covariance = product - mean[..., :, None] * mean[..., None, :]
        found = {}
        for i, name in enumerate(self.variables):
            units = {"units": self._unit(name)}
            rms = covariance[..., i, i].clamp_min(0).sqrt()
            found[f"{name}_mean"] = xr.Variable(dims, mean[..., i].numpy(), units)
            found[f"{name}_rms"] = xr.Variable(dims, rms.numpy(), units)
        for i, j in combinations(range(len(self.variables)), 2):
            one, other = self.variables[i], self.variables[j]
            units = {"units": _product(self._unit(one), self._unit(other))}
            stress = -covariance[..., i, j]
            found[f"{one}_{other}_stress"] = xr.Variable(dims, stress.numpy(), units)
        return found

    def _spectra(self, means: Mapping[str, Tensor], dims: tuple[str, ...]) -> dict:
        found = {}
        for axis in self.homogeneous:
            for i, name in enumerate(self.variables):
                unit = self._unit(name)
                units = {"units": _product(unit, unit, self._unit(axis))}
                values = means[f"spectrum_{axis}"][..., i, :].numpy()
                where = (*dims, f"wavenumber_{axis}")
                found[f"{name}_spectrum_{axis}"] = xr.Variable(where, values, units)
        return found

    def _pdfs(self, sums: Mapping[str, Tensor], dims: tuple[str, ...]) -> dict:
        found = {}
        for i, edge in enumerate(self.edges or ()):
            counts, name = sums[f"count_{i}"], self.variables[i]
            density = counts / (counts.sum(-1, keepdim=True) * edge.diff())
            units = {"units": _inverse(self._unit(name))}
            found[f"{name}_pdf"] = xr.Variable((*dims, f"{name}_value"), density.numpy(), units)
        return found

    def _waves(self) -> dict:
        waves = {}
        for axis, length in self.lengths.items():
            count = len(self.coordinates[axis]) // 2
            k = 2 * np.pi / length * np.arange(1, count + 1)
            name = f"wavenumber_{axis}"
            waves[name] = (name, k, {"units": _inverse(self._unit(axis))})
        return waves

    def _values(self) -> dict:
        values = {}
        for variable, edge in zip(self.variables, self.edges or (), strict=False):
            centres, name = (edge[1:] + edge[:-1]).numpy() / 2, f"{variable}_value"
            values[name] = (name, centres, {"units": self._unit(variable)})
        return values

    def _unit(self, name: str) -> str:
        return self.units.get(name, "1")


def _period(points: np.ndarray) -> float:
    count = len(points)
    if count < 2:
        raise ValueError("a homogeneous axis needs at least 2 points")
    return float(points[-1] - points[0]) * count / (count - 1)


def _histogram(points: Tensor, edge: Tensor) -> Tensor:
    """Counts `(..., bins)` of the last dim of `points`."""
    bins = len(edge) - 1
    place = torch.bucketize(points, edge[1:-1])
    counts = points.new_zeros(*points.shape[:-1], bins)
    return counts.scatter_add_(-1, place, torch.ones_like(points))


def _product(*units: str) -> str:
    """ "m/s m/s m"; the dimensionless leave no trace."""
    return " ".join(unit for unit in units if unit not in ("", "1")) or "1"


def _inverse(unit: str) -> str:
    return "1" if unit in ("", "1") else f"({unit})^-1"
