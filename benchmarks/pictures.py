"""The pictures of README and docs, made anew from the demo's folder and the shipped models.

python -m benchmarks.pictures --demo demo        # after `make demo`
python -m benchmarks.pictures --channel data/channel-minimal.zarr long.zarr    # and its rollout
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import surform
from surform.data.solvers.generate import generate
from surform.data.solvers.options import find_solver
from surform.reports import fields
from surform.reports.images import png
from surform.reports.meshes import at_points

__all__ = ["main"]

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of surform demo")
    parser.add_argument(
        "--channel", type=Path, nargs=2, help="data and a rollout of their last sample: this alone"
    )
    args = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    if args.channel:
        _save("ifactformer-channel", _channel(*args.channel))
        return
    _save("kolmogorov-rollout", _rollout(args.demo))
    with tempfile.TemporaryDirectory() as folder:
        _save("galerkin-burgers", _burgers(Path(folder)))
    _save("gnot-ns2d-c-u", _flow())


def _save(name: str, figure: Figure) -> None:
    path = IMAGES / f"{name}.png"
    path.write_bytes(png(figure, dpi=90))
    print(path)


def _rollout(demo: Path) -> Figure:
    prediction = xr.open_zarr(demo / "prediction.zarr")["vorticity"].isel(sample=0)
    truth = xr.open_zarr(demo / "test.zarr")["vorticity"].isel(sample=0)
    truth = truth.sel(time=prediction.time, method="nearest")
    return fields(prediction, truth.assign_coords(time=prediction.time), times=[0, 4, 9, 14, 19])


def _burgers(folder: Path) -> Figure:
    path = generate("burgers", folder / "burgers.zarr", samples=1, seed=7, points=512)
    data = xr.open_zarr(path)
    prediction = surform.load_model("galerkin-burgers").predict(data)
    return fields(prediction["u"].isel(sample=0), data["u"].isel(sample=0))


def _flow() -> Figure:
    """Velocity past circles that the shipped GNOT has not seen."""
    sample = find_solver("ns2d-c")(np.random.default_rng([7, 0]))
    (prediction,) = surform.load_model("gnot-ns2d-c").predict([sample])
    return at_points(sample.points, prediction[:, 0], sample.targets[:, 0], label="u", axes="xy")


def _channel(data: Path, rollout: Path) -> Figure:
    """Velocity along the flow in the middle of the span."""
    planes = {"z": 8, "sample": -1}
    prediction, truth = (xr.open_zarr(path)["u"].isel(planes) for path in (rollout, data))
    prediction = prediction.isel(time=slice(100))
    truth = truth.sel(time=prediction.time, method="nearest")
    return fields(prediction, truth.assign_coords(time=prediction.time), times=[0, 1, 3, 9, 99])


if __name__ == "__main__":
    main()
