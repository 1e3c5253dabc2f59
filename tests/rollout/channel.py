"""A made-up channel flow with a known profile, and a model that steps it on."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from surform.data.description import FieldsDescription

__all__ = ["Shifting", "channel", "described"]

NAMES = ("u", "v", "w")


def channel(samples: int = 2, frames: int = 12, shape=(8, 7, 6)) -> xr.Dataset:
    """Parabolic mean flow along x and noise that vanishes on the walls of y."""
    x, z = (np.arange(n) * length / n for n, length in ((shape[0], 4.0), (shape[2], 2.0)))
    y = np.linspace(0, 2, shape[1])
    mean = (y * (2 - y))[None, :, None]
    noise = 0.1 * np.random.default_rng(0).standard_normal((3, samples, frames, *shape)) * mean
    noise[1] -= 0.4 * noise[0]
    fields = {"u": mean + noise[0], "v": noise[1], "w": noise[2]}
    dims = ("sample", "time", "x", "y", "z")
    return xr.Dataset(
        {name: (dims, values, {"units": "m/s"}) for name, values in fields.items()}
        | {
            "u_tau": ("sample", np.full(samples, 0.05), {"units": "m/s"}),
            "viscosity": ("sample", np.full(samples, 5e-4), {"units": "m2/s"}),
        },
        {
            "time": ("time", 0.5 * np.arange(frames), {"units": "s"}),
            "x": ("x", x, {"units": "m", "periodic": 1}),
            "y": ("y", y, {"units": "m", "periodic": 0}),
            "z": ("z", z, {"units": "m", "periodic": 1}),
        },
    )


def described(dataset: xr.Dataset) -> FieldsDescription:
    """What a model of this flow knows."""
    axes = ("x", "y", "z")
    return FieldsDescription(
        inputs=NAMES,
        targets=NAMES,
        axes=axes,
        shape=tuple(dataset.sizes[axis] for axis in axes),
        coordinates={axis: dataset[axis].values.tolist() for axis in axes},
        periodic={"x": True, "y": False, "z": True},
        units=dict.fromkeys(NAMES, "m/s") | dict.fromkeys(axes, "m") | {"time": "s"},
        input_steps=1,
        target_steps=1,
        time_step=0.5,
    )


class Shifting(nn.Module):
    """Moves the flow one point along x and one along z, and mirrors it there."""

    def __init__(self, dataset: xr.Dataset) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.description = described(dataset)

    def forward(self, inputs: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        mirrored = torch.tensor([1.0, 1.0, -1.0], dtype=inputs.dtype)
        return inputs[:, -1:].roll((1, 1), (2, 4)) * mirrored
