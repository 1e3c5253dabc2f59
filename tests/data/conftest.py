"""Small flows on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr


def make_flow(samples: int = 6, frames: int = 12, grid: tuple[int, ...] = (8, 4)) -> xr.Dataset:
    """A flow whose every value is distinct: w encodes (sample, time, point)."""
    axes = ("x", "y", "z")[: len(grid)]
    shape = (samples, frames, *grid)
    w = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    mask = np.arange(np.prod(grid), dtype=np.float32).reshape(grid)
    coords = {
        axis: (axis, np.linspace(0, 1, n), {"units": "m"})
        for axis, n in zip(axes, grid, strict=True)
    }
    coords["x"][2]["periodic"] = 1
    return xr.Dataset(
        {
            "w": (("sample", "time", *axes), w.astype(np.float32), {"units": "s-1"}),
            "p": (("sample", "time", *axes), (2 * w + 1).astype(np.float32), {"units": "Pa"}),
            "mask": (axes, mask),
            "a": (("sample", *axes), w[:, 0].astype(np.float32)),
            "b": (("sample", *axes), (w[:, -1] / 7).astype(np.float32)),
            "re": ("sample", np.arange(samples) * 10.0),
        },
        {**coords, "time": ("time", 0.5 * np.arange(frames), {"units": "s"})},
        {"solver": "none", "seed": 3},
    )


@pytest.fixture
def flow() -> xr.Dataset:
    return make_flow()


@pytest.fixture
def make() -> Callable[..., xr.Dataset]:
    return make_flow


@pytest.fixture
def flow_path(tmp_path: Path, flow: xr.Dataset) -> str:
    path = str(tmp_path / "flow.zarr")
    flow.to_zarr(path, zarr_format=3, consolidated=False)
    return path
