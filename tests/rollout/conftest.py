"""Small models with known trajectories, and datasets that hold these."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from surform.data.description import FieldsDescription


class Linear(nn.Module):
    """Every frame is `factor` times the one before; `frames` of them per call."""

    def __init__(self, factor: float = 0.9, frames: int = 1, targets: int = 1) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))
        self.frames, self.targets = frames, targets
        self.description: FieldsDescription | None = None
        self.windows: list[Tensor] = []

    def forward(self, inputs: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        self.windows.append(inputs)
        if inputs.ndim == len(coordinates) + 2:
            return inputs[..., : self.targets] * self.factor
        last = inputs[:, -1:, ..., : self.targets]
        return torch.cat([last * self.factor ** (k + 1) for k in range(self.frames)], dim=1)


@pytest.fixture
def linear():
    return Linear


@pytest.fixture
def flow():
    """`flow(...)`: a dataset of decaying waves on [0, 2 pi)^2, w(t) = 0.9^(t / 0.5) w(0)."""

    def make(samples=3, frames=12, n=16, m=12, step=0.5, factor=0.9) -> xr.Dataset:
        x, y = (np.arange(k) * 2 * np.pi / k for k in (n, m))
        amplitude = np.arange(1, samples + 1)
        wave = np.sin(x)[:, None] * np.cos(2 * y) + 0.3 * np.cos(3 * x)[:, None] + 0.1
        decay = factor ** np.arange(frames)
        values = amplitude[:, None, None, None] * decay[:, None, None] * wave
        return xr.Dataset(
            {"vorticity": (("sample", "time", "x", "y"), values, {"units": "1/s"})},
            coords={
                "time": ("time", 10 + step * np.arange(frames), {"units": "s"}),
                "x": ("x", x, {"units": "m", "periodic": 1}),
                "y": ("y", y, {"units": "m", "periodic": 1}),
            },
        )

    return make


@pytest.fixture
def describe():
    """`describe(dataset, ...)`: what a model trained on this dataset knows."""

    def make(dataset: xr.Dataset, input_steps=2, step=0.5, **changes) -> FieldsDescription:
        axes = ("x", "y")
        values = {
            "inputs": ("vorticity",),
            "targets": ("vorticity",),
            "axes": axes,
            "shape": tuple(dataset.sizes[a] for a in axes),
            "coordinates": {a: dataset[a].values.tolist() for a in axes},
            "periodic": dict.fromkeys(axes, True),
            "units": {"vorticity": "1/s", "time": "s", "x": "m", "y": "m"},
            "input_steps": input_steps,
            "target_steps": 1,
            "time_step": step,
        }
        return FieldsDescription(**{**values, **changes})

    return make
