"""Turbulence statistics of whole data sets and rollouts, and how channel flow presents them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surform.rollout.turbulence import FlowStatistics, bin_edges

__all__ = ["flow_statistics", "fold", "wall_units"]

_BLOCK_BYTES = 64 * 2**20
_LEAD = ("sample", "member", "time")


def flow_statistics(
    dataset: xr.Dataset,
    variables: Sequence[str] = ("u", "v", "w"),
    homogeneous: Sequence[str] | None = None,
    edges: Sequence[Tensor] | None = None,
    bins: int | None = 64,
    pool: bool = True,
) -> xr.Dataset:
    """Statistics over all samples, members, times and homogeneous axes; read block by block.

    Args:
        dataset: the variables over ("sample", "member", "time", *axes), the first three where
            there are any; from a solver, a file or a rollout.
        variables: the velocity components, or any others.
        homogeneous: axes to average over; by default those marked `periodic`.
        edges: bin edges of the histograms, as of another flow that is compared.
        bins: how many are made from the first block where `edges` is None; None: no histograms.
        pool: whether samples and members are taken together.

    Returns:
        See `FlowStatistics.result`.

    Raises:
        ValueError: a variable or axis is missing, or the axes are not marked.
    """
    missing = [name for name in variables if name not in dataset]
    if missing:
        names = ", ".join(map(str, dataset.data_vars))
        raise ValueError(f"no variable is called {missing[0]!r}: {names}")
    array = dataset[list(variables)].to_dataarray("variable")
    lead = [dim for dim in _LEAD if dim in array.dims]
    axes = [str(dim) for dim in array.dims if dim not in (*lead, "variable")]
    if homogeneous is None:
        homogeneous = [axis for axis in axes if dataset[axis].attrs.get("periodic")]
        if not homogeneous:
            raise ValueError(f"no axis of {', '.join(axes)} is marked periodic: name them")
    units = {name: str(dataset[name].attrs.get("units", "1")) for name in (*variables, *axes)}
    coordinates = {axis: dataset[axis].values for axis in axes}
    apart = [dim for dim in lead if dim != "time"]
    statistics = None
    for frames in _blocks(dataset[list(variables)], [*apart, "time", *axes]):
        if statistics is None:
            edges = bin_edges(frames, bins) if edges is None and bins else edges
            statistics = FlowStatistics(variables, coordinates, homogeneous, edges, units)
        for frame in frames.unbind(len(apart)):
            statistics.update(frame)
    if statistics is None:
        raise ValueError("the data hold no frames")
    return statistics.result(() if pool else apart)


def _blocks(dataset: xr.Dataset, dims: list[str]) -> Iterator[Tensor]:
    """Tensors (*apart, time, *axes, C) of some frames at a time."""
    if "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    total = dataset.sizes["time"]
    step = max(1, _BLOCK_BYTES * total // max(1, dataset.nbytes))
    for begin in range(0, total, step):
        piece = dataset.isel(time=slice(begin, begin + step))
        arrays = [piece[n].transpose(*dims).values for n in dataset.data_vars]
        yield torch.from_numpy(np.stack(arrays, axis=-1))


def fold(statistics: xr.Dataset, axis: str = "y", across: str = "v") -> xr.Dataset:
    """The lower half of a channel, averaged with the mirrored upper half; without histograms.

    Args:
        statistics: from `flow_statistics`, on points symmetric about the middle of `axis`.
        axis: the wall-normal axis.
        across: the velocity component along it, whose mean and shear stresses change sign.
    """
    half = (statistics.sizes[axis] + 1) // 2
    kept = statistics[[n for n in map(str, statistics) if not n.endswith("_pdf")]]
    lower = kept.isel({axis: slice(0, half)})
    upper = kept.isel({axis: slice(None, None, -1)}).isel({axis: slice(0, half)})
    folded = lower.copy()
    for name in map(str, kept):
        if axis in kept[name].dims:
            sign = -1 if _odd(name, across) else 1
            folded[name] = lower[name].copy(
                data=(lower[name].values + sign * upper[name].values) / 2
            )
    return folded


def _odd(name: str, across: str) -> bool:
    """Whether a profile changes sign in a mirror: the mean of v, and its stresses with others."""
    if name.endswith("_stress"):
        return name.startswith(f"{across}_") or name.endswith(f"_{across}_stress")
    return name == f"{across}_mean"


def wall_units(
    statistics: xr.Dataset, friction_velocity: float, viscosity: float, axis: str = "y"
) -> xr.Dataset:
    """Velocities over u_tau, stresses over u_tau^2, and the coordinate `<axis>_plus`.

    Args:
        statistics: profiles with `axis` measured from the wall.
        friction_velocity: u_tau, the square root of wall stress over density.
        viscosity: the kinematic viscosity, in the units of `axis` and the velocities.
    """
    scaled = statistics[[n for n in map(str, statistics) if axis in statistics[n].dims]].copy()
    for name in map(str, scaled):
        if name.endswith("_stress"):
            scaled[name] = scaled[name] / friction_velocity**2
        elif name.endswith(("_mean", "_rms")):
            scaled[name] = scaled[name] / friction_velocity
        else:
            scaled = scaled.drop_vars(name)
    plus = statistics[axis].values * friction_velocity / viscosity
    return scaled.assign_coords({f"{axis}_plus": (axis, plus, {"units": "1"})})
