"""Turbulence of the channel solver beside published direct simulations at Re_tau = 180.

    python -m benchmarks.channel minimal       # about an hour and a half on one core
    python -m benchmarks.channel large
    python -m benchmarks.channel minimal --turnovers 5 --spin-up 5 --quick --out /tmp/channel
    python -m benchmarks.channel minimal --data data/channel-minimal.zarr    # of generated data

From the laminar flow with noise, without its first 20 h/u_tau, statistics of what follows. A run
that is stopped goes on from its state in --out; with --quick no results are written. `large` is
half as long and half as wide as the channel of Kim, Moin and Moser; `minimal` holds one set of wall
structures, whose statistics are those of a channel below y+ = 40 or so (Jimenez and Moin, J. Fluid
Mech. 225, 1991), hence the wider bounds. Generated data are evaluated as they are stored: on a
coarser grid, without the waves that it cannot hold.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import RESULTS
from surform.bench.measure import save
from surform.data.solvers.channel import longest_step
from surform.data.solvers.channel_grid import CoarseGrid
from surform.data.solvers.channel_modes import ChannelModes, Flow
from surform.data.solvers.channel_start import noisy_start
from surform.data.solvers.channel_step import BULK, ChannelEquation
from surform.data.solvers.samples import Samples
from surform.data.solvers.unfinished import Unfinished
from surform.reports.images import png
from surform.rollout.turbulence import FlowStatistics
from surform.rollout.turbulence_files import flow_statistics, fold, wall_units

__all__ = ["CASES", "Case", "figures", "figures_of_data", "main"]

IMAGES = Path(__file__).parents[1] / "docs" / "images"
REYNOLDS, U_TAU = 4200, 180 / 4200
EVERY = 0.5  # time between frames that are counted
KARMAN = 0.40

# Mean velocity at y+, Re_tau = 178.12: Moser, Kim and Mansour, Phys. Fluids 11 (1999).
PUBLISHED = np.array(
    [(2.6224, 2.5939), (5.3381, 5.1133), (8.9902, 7.9052), (13.559, 10.311), (19.019, 12.066)]
    + [(25.342, 13.276), (37.701, 14.557), (55.3, 15.569), (75.559, 16.389), (98.037, 17.094)]
    + [(122.25, 17.672), (147.67, 18.103), (173.75, 18.297)]
)
# Figure: published value, lowest and highest accepted in a large and in a minimal channel. Kim,
# Moin and Moser, J. Fluid Mech. 177 (1987); Vreman and Kuerten, Phys. Fluids 26 (2014).
BOUNDS: dict[str, tuple[float, tuple[float, float], tuple[float, float]]] = {
    "Re_tau": (178.1, (173, 184), (160, 200)),
    "centreline U+": (18.3, (17.7, 18.9), (17.0, 20.5)),
    "B of the log law, kappa 0.40": (5.5, (5.0, 6.0), (4.5, 8.0)),
    "largest difference of U+, y+ < 40": (0.0, (0, 0.35), (0, 1.0)),
    "largest difference of U+": (0.0, (0, 0.45), (0, 2.5)),
    "peak u' rms+": (2.65, (2.52, 2.80), (2.3, 3.2)),
    "at y+": (15, (13, 18), (11, 20)),
    "peak v' rms+": (0.84, (0.79, 0.90), (0.65, 1.0)),
    "peak w' rms+": (1.09, (1.00, 1.16), (0.75, 1.25)),
    "peak -u'v'+": (0.72, (0.69, 0.76), (0.65, 0.85)),
    "total stress off the line": (0.0, (0, 0.03), (0, 0.04)),
    "power in over dissipation": (1.0, (0.98, 1.02), (0.98, 1.02)),
}


@dataclass(frozen=True)
class Case:
    """A channel: points (x, y, z), periods along x and z, and h/u_tau to average over."""

    points: tuple[int, int, int]
    lengths: tuple[float, float]
    turnovers: float


CASES = {
    "minimal": Case((32, 65, 32), (math.pi, 0.34 * math.pi), 60.0),
    "large": Case((64, 65, 64), (2 * math.pi, math.pi), 15.0),
}


class Run:
    """One case on its way: the flow, what has been averaged, and the file that both are kept in."""

    def __init__(self, case: Case, spin_up: float, file: Path) -> None:
        modes = ChannelModes(case.points, case.lengths, torch.float32)
        steps = math.ceil(EVERY / longest_step(modes))
        self.equation = ChannelEquation(modes, 1 / REYNOLDS, EVERY / steps, frame=0.5)
        self.grid = CoarseGrid(modes, case.points, "cosine", average=False)
        nx, _, nz = case.points
        axes = {"x": case.lengths[0] * np.arange(nx) / nx, "y": 1 + self.grid.y}
        axes["z"] = case.lengths[1] * np.arange(nz) / nz
        self.statistics = FlowStatistics(("u", "v", "w"), axes, ("x", "z"))
        self.per_frame = steps
        self.spin_up = math.ceil(spin_up / U_TAU / EVERY)
        self.frames = math.ceil(case.turnovers / U_TAU / EVERY)
        self.file = Unfinished(file)
        state = self.file.load()
        self.frame = int(state.get("frame", 0))
        self.seconds = float(state.get("seconds", 0))
        self.budget = state.get("budget", torch.zeros(2, dtype=torch.float64))
        begun = int(state.get("spin_up", self.spin_up))
        if begun != self.spin_up:
            raise ValueError(
                f"{file} was begun with {begun} frames of spin-up, not {self.spin_up}: choose "
                "another --out"
            )
        if state:
            self.flow = Flow(*(state[name] for name in Flow._fields))
            sums = {k.removeprefix("sum "): v for k, v in state.items() if k.startswith("sum ")}
            self.statistics.sums = sums
        else:
            self.flow = noisy_start(self.equation, Samples(range(1)), 0.1)

    def go(self) -> None:
        """Go to the end."""
        while self.frame < self.spin_up + self.frames:
            began = time.process_time()
            for _ in range(self.per_frame):
                self.flow, gradient = self.equation.step(self.flow)
                if self.frame >= self.spin_up:
                    self._add(gradient)
            self.seconds += time.process_time() - began
            self.frame += 1
            if self.frame > self.spin_up:
                velocity = self.grid.velocity(self.flow, 0.0).movedim(0, -1)
                self.statistics.update(velocity)
            if self.frame % 20 == 0:
                stress = float(self.equation.wall_stress(self.flow))
                reynolds, most = math.sqrt(stress) * REYNOLDS, self.spin_up + self.frames
                courant = float(self.equation.courant(self.flow))
                print(
                    f"frame {self.frame} of {most}: Re_tau {reynolds:.1f}, Courant {courant:.2f}, "
                    f"{1e3 * self.step_seconds:.1f} ms a step",
                    flush=True,
                )
            self.file.save(partial(self.state))
        self.file.patience = 0.0
        self.file.save(self.state)

    def _add(self, gradient: Tensor) -> None:
        lost = self.equation.viscosity * self.equation.modes.dissipation(self.flow)
        self.budget += torch.stack([gradient, lost])[:, 0].double()

    @property
    def counted(self) -> int:
        """Frames after the spin-up so far; a file may hold more than were asked for."""
        return max(0, self.frame - self.spin_up)

    @property
    def step_seconds(self) -> float:
        """Processor seconds per step."""
        return self.seconds / max(1, self.frame * self.per_frame)

    def state(self) -> dict[str, Tensor]:
        """What the file holds."""
        numbers = {"frame": self.frame, "spin_up": self.spin_up, "seconds": self.seconds}
        about = {name: torch.tensor(value) for name, value in numbers.items()}
        sums = {f"sum {name}": value for name, value in self.statistics.sums.items()}
        return {**about, "budget": self.budget, **self.flow._asdict(), **sums}


def figures(run: Run) -> tuple[dict[str, float], xr.Dataset]:
    """What is compared, by the names of `BOUNDS`, and the profiles in wall units."""
    gradient, lost = (run.budget / (run.counted * run.per_frame)).tolist()
    u_tau, viscosity = math.sqrt(gradient), run.equation.viscosity
    raw = run.statistics.result()
    plus = wall_units(fold(raw), u_tau, viscosity)
    y, stress = plus["y_plus"].values, plus["u_v_stress"].values
    shear = _slope(run.grid.y, raw["u_mean"].values)[: len(y)] * viscosity / u_tau**2
    line = 1 - plus["y"].values
    found = _of_profiles(plus, u_tau, viscosity)
    found["total stress off the line"] = float(np.abs(stress + shear - line).max())
    found["power in over dissipation"] = 2 * BULK * gradient / lost
    return found, plus


def figures_of_data(data: xr.Dataset) -> tuple[dict[str, float], xr.Dataset]:
    """The same of generated data, but for what takes the full grid."""
    u_tau, viscosity = math.sqrt(float(data["wall_stress"].mean())), 1 / REYNOLDS
    raw = flow_statistics(data, homogeneous=("x", "z"), bins=None)
    plus = wall_units(fold(raw), u_tau, viscosity)
    return _of_profiles(plus, u_tau, viscosity), plus


def _of_profiles(plus: xr.Dataset, u_tau: float, viscosity: float) -> dict[str, float]:
    y, mean = plus["y_plus"].values, plus["u_mean"].values
    log = (y > 40) & (y < 120)
    known = PUBLISHED[PUBLISHED[:, 0] >= y[1]]  # between the wall and the next point: not stored
    difference = np.abs(np.interp(known[:, 0], y, mean) - known[:, 1])
    found = {
        "Re_tau": u_tau / viscosity,
        "centreline U+": mean[-1],
        "B of the log law, kappa 0.40": float((mean - np.log(y.clip(1e-9)) / KARMAN)[log].mean()),
        "largest difference of U+, y+ < 40": difference[known[:, 0] < 40].max(),
        "largest difference of U+": difference.max(),
        "peak u' rms+": plus["u_rms"].values.max(),
        "at y+": y[plus["u_rms"].values.argmax()],
        "peak v' rms+": plus["v_rms"].values.max(),
        "peak w' rms+": plus["w_rms"].values.max(),
        "peak -u'v'+": plus["u_v_stress"].values.max(),
    }
    return {name: float(value) for name, value in found.items()}


def _slope(y: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The derivative of the polynomial through all points, the two halves averaged."""
    fit = np.polynomial.chebyshev.Chebyshev.fit(y, mean, len(y) - 1)
    slope = fit.deriv()(y)
    return (slope - slope[::-1]) / 2


def picture(plus: xr.Dataset) -> Figure:
    """Mean velocity, rms and stress in wall units beside the published ones."""
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    y = plus["y_plus"].values
    left.semilogx(y[1:], plus["u_mean"].values[1:], label="surform")
    left.plot(
        *PUBLISHED.T, "o", color="black", markersize=4, fillstyle="none", label="Moser et al."
    )
    wall, log = np.geomspace(1, 11), np.geomspace(8, 180)
    left.plot(wall, wall, ":", color="gray")
    left.plot(log, np.log(log) / KARMAN + 5.5, ":", color="gray", label="y+; 2.5 ln y+ + 5.5")
    left.set(xlabel="y+", ylabel="U+")
    for name, text in (("u_rms", "u' rms+"), ("v_rms", "v' rms+"), ("w_rms", "w' rms+")):
        right.plot(y, plus[name].values, label=text)
    right.plot(y, plus["u_v_stress"].values, label="-u'v'+")
    right.plot([15], [2.65], "o", color="black", fillstyle="none", markersize=4)
    right.set(xlabel="y+")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run a case, print its table, write results/channel-<case>.json and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--turnovers", type=float, help="h/u_tau to average over (the case's)")
    parser.add_argument("--spin-up", type=float, default=20.0, help="h/u_tau left out before (20)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/channel"), help="folder of the state"
    )
    parser.add_argument("--data", type=Path, help="what surform generate channel made: no run")
    parser.add_argument("--quick", action="store_true", help="print only")
    args = parser.parse_args(arguments)
    if args.data:
        return _compare_data(args.data, args.case, args.quick)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    case = CASES[args.case]
    if args.turnovers:
        case = Case(case.points, case.lengths, args.turnovers)
    args.out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        run = Run(case, args.spin_up, args.out / f"{args.case}.safetensors")
        run.go()
    found, plus = figures(run)
    rows = [_row(name, value, args.case) for name, value in found.items()]
    _show(rows, args.case)
    if not args.quick:
        about: dict[str, Any] = {
            "points": " x ".join(map(str, case.points)),
            "periods": f"{case.lengths[0]:.4g} x {case.lengths[1]:.4g}",
            "averaged over h/u_tau": round(run.counted * EVERY * U_TAU, 1),
            "milliseconds a step": round(1e3 * run.step_seconds, 1),
            "time step": run.equation.dt,
        }
        save(RESULTS / f"channel-{args.case}.json", rows, **about)
        (IMAGES / f"channel-{args.case}.png").write_bytes(png(picture(plus), dpi=90))
    return 0 if all(row["within"] for row in rows) else 1


def _compare_data(path: Path, case: str, quick: bool) -> int:
    data = xr.open_zarr(path)
    found, plus = figures_of_data(data)
    rows = [_row(name, value, case) for name, value in found.items()]
    _show(rows, case)
    if not quick:
        turnovers = data["turnovers"].isel(time=-1) - data["turnovers"].isel(time=0)
        counted = float(turnovers.sum())
        about = {"command": data.attrs["command"], "averaged over h/u_tau": round(counted, 1)}
        save(RESULTS / f"channel-{case}-data.json", rows, **about)
        (IMAGES / f"channel-{case}.png").write_bytes(png(picture(plus), dpi=90))
    return 0 if all(row["within"] for row in rows) else 1


def _row(name: str, value: float, case: str) -> dict[str, Any]:
    published, *bounds = BOUNDS[name]
    low, high = bounds[case == "minimal"]
    within = low <= value <= high
    return {"figure": name, "published": published, "found": round(value, 4), "lowest": low,
            "highest": high, "within": within}  # fmt: skip


def _show(rows: list[dict[str, Any]], case: str) -> None:
    table = Table("", "published", "found", "bounds", title=f"{case} channel, Re_tau = 180")
    for row in rows:
        bounds = f"{row['lowest']:g} to {row['highest']:g}" + ("" if row["within"] else "  MISSED")
        table.add_row(row["figure"], f"{row['published']:g}", f"{row['found']:.4g}", bounds)
    Console(width=100).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
