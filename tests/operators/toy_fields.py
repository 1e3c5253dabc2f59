"""Toy networks of fields, what describes their data, and a small flow."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import nn

from surform.data.description import FieldsDescription

ONE = torch.ones(1)


class Scale(nn.Module):
    """Steady toy network: twice the first channel plus the sum of the others."""

    time_window = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, u, coordinates):
        assert u.ndim == len(coordinates) + 2
        return self.weight * u[..., :1] + u[..., 1:].sum(-1, keepdim=True)


class March(nn.Module):
    """Time-window toy network: frame n is the newest frame plus n."""

    time_window = True

    def __init__(self, most: int = 3) -> None:
        super().__init__()
        self.most = most
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, u, coordinates, steps=None):
        count = self.most if steps is None else steps
        assert count <= self.most
        return torch.stack(
            [u[:, -1, ..., :1] + n * self.weight for n in range(1, count + 1)], dim=1
        )


def describe(**changes):
    values = {
        "inputs": ("a",),
        "targets": ("u",),
        "axes": ("x", "y"),
        "shape": (4, 5),
        "coordinates": {"x": [0.0, 1, 2, 3], "y": [0.0, 0.5, 1, 1.5, 2]},
        "periodic": {"x": False, "y": True},
        "units": {"a": "m", "u": "m s-1", "x": "m", "y": "m", "nu": "m2 s-1"},
    }
    return FieldsDescription(**{**values, **changes})


def axes():
    return {
        "x": ("x", [0.0, 1, 2, 3], {"units": "m", "long_name": "across"}),
        "y": ("y", [0.0, 0.5, 1, 1.5, 2], {"units": "m"}),
    }


def flow():
    """Three runs of six frames."""
    values = np.random.default_rng(0).standard_normal((3, 6, 4, 5)).astype(np.float32)
    time = ("time", 0.5 * np.arange(6), {"units": "s", "axis": "T"})
    return xr.Dataset(
        {"u": (("sample", "time", "x", "y"), values, {"units": "m s-1", "long_name": "speed"})},
        coords={**axes(), "time": time},
        attrs={"title": "a flow"},
    )
