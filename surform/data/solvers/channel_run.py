"""A channel flow on its way: steps, looks at its health, frames, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from surform.data.solvers.channel_grid import CoarseGrid
from surform.data.solvers.channel_modes import Flow
from surform.data.solvers.channel_start import noisy_start, refined
from surform.data.solvers.channel_step import ChannelEquation
from surform.data.solvers.checks import check_finite
from surform.data.solvers.samples import Axis, Field, Samples, Solution

__all__ = ["COURANT", "ChannelRun"]

COURANT, _STABLE = 1.2, 1.7  # the chosen and the largest Courant numbers of the three stages
_CHECK = 50  # steps between two looks at the Courant number
_STILL = 1e-4  # energy of fluctuations over that of the mean, below which there is no turbulence


@dataclass
class ChannelRun:
    """Steps, looks and frames of one batch.

    Attributes:
        equation: of the flow.
        coarse: the same on fewer points, for the beginning of the spin-up.
        grid: what is stored.
        samples: what to make.
        first: steps of the coarse equation, 0 for none of them.
        warm_up: steps of the equation before the first frame.
        per_frame: steps between frames.
        frames: number of frames.
        noise: of the start.
    """

    equation: ChannelEquation
    coarse: ChannelEquation
    grid: CoarseGrid
    samples: Samples
    first: int
    warm_up: int
    per_frame: int
    frames: int
    noise: float

    def solution(self) -> Solution:
        """Run to the end, from the beginning or from where an earlier run was stopped."""
        begin = self.first + self.warm_up
        total = begin + self.per_frame * (self.frames - 1)
        state = self._resume() or self._begin()
        step, flow = int(state["step"]), _flow(state)
        velocity, stress, pressure = state["velocity"], state["stress"], state["pressure"]
        if step == begin == 0:
            self._keep(0, flow, velocity, stress)
        while step < total:
            if step == self.first > 0:
                flow = refined(flow, self.coarse, self.equation)
            equation = self.equation if step >= self.first else self.coarse
            flow, gradient = equation.step(flow)
            step += 1
            if step > begin:
                pressure.add_(gradient.double(), alpha=1 / (total - begin))
            if step % _CHECK == 0 or step == total:
                self._check(equation, step, flow)
                self.samples.progress(step / total)
            frame, between = divmod(step - begin, self.per_frame)
            if frame >= 0 and between == 0:
                self._keep(frame, flow, velocity, stress)
            now = partial(_state, step, flow, velocity, stress, pressure)
            self.samples.unfinished.save(now)
        return self._labelled(velocity, stress, self._mean_gradient(pressure, stress))

    def time(self, step: int) -> float:
        """The time after so many steps."""
        few = min(step, self.first)
        return few * self.coarse.dt + (step - few) * self.equation.dt

    def _begin(self) -> dict[str, Tensor]:
        batch, points = len(self.samples), self.grid.points
        equation = self.coarse if self.first else self.equation
        flow = noisy_start(equation, self.samples, self.noise)
        velocity = torch.zeros(3, batch, self.frames, *points, dtype=self.samples.dtype)
        stress = torch.zeros(batch, self.frames, dtype=torch.float64)
        pressure = torch.zeros_like(flow.mean[0, 0], dtype=torch.float64)
        return _state(0, flow, velocity, stress, pressure)

    def _resume(self) -> dict[str, Tensor]:
        state = self.samples.unfinished.load()
        moved = {*Flow._fields, "pressure"}
        return {n: t.to(self.samples.device) if n in moved else t for n, t in state.items()}

    def _check(self, equation: ChannelEquation, step: int, flow: Flow) -> None:
        time, dt = self.time(step), equation.dt
        check_finite(equation.modes.energy(flow), time, dt)
        courant = float(equation.courant(flow).max())
        if not courant < _STABLE:
            raise ValueError(
                f"the Courant number is {courant:.3g} at time {time:.4g}, above {_STABLE}: choose "
                f"dt below {COURANT * dt / courant:.2g}"
            )
        if self.noise and step >= self.first + self.warm_up:
            self._check_turbulence(flow, time)

    def _check_turbulence(self, flow: Flow, time: float) -> None:
        poloidal, toroidal, mean = self.equation.modes.squares(flow)
        still = (poloidal + toroidal < _STILL * mean).nonzero()
        if len(still):
            number = self.samples.indices[int(still[0])]
            raise ValueError(
                f"the turbulence of sample {number} has died out by time {time:.4g}: choose more "
                "noise, a higher reynolds_tau or a larger channel"
            )

    def _keep(self, frame: int, flow: Flow, velocity: Tensor, stress: Tensor) -> None:
        time = self.time(self.first + self.warm_up + frame * self.per_frame)
        shift = self.equation.frame * time
        velocity[:, :, frame] = self.grid.velocity(flow, shift).cpu()
        stress[:, frame] = self.equation.wall_stress(flow).double().cpu()

    def _mean_gradient(self, pressure: Tensor, stress: Tensor) -> Tensor:
        if self.frames > 1:
            return pressure.cpu()
        given = self.equation.pressure_gradient  # of a single frame; else what balances friction
        return stress[:, 0] if given is None else torch.full_like(stress[:, 0], given)

    def _labelled(self, velocity: Tensor, stress: Tensor, pressure: Tensor) -> Solution:
        equation, (nx, _, nz) = self.equation, self.grid.points
        lengths = equation.modes.lengths
        step = self.per_frame * equation.dt
        times = step * torch.arange(self.frames, dtype=torch.float64)
        u_tau = stress.mean(1).sqrt()
        since = self.time(self.first + self.warm_up) + times
        axes = ("time", "x", "y", "z")
        names = {"u": "velocity along the flow", "v": "velocity across", "w": "spanwise velocity"}
        velocities = zip(names.items(), velocity, strict=True)
        scalars = {
            "u_tau": (u_tau, "friction velocity, mean over the frames"),
            "reynolds_tau": (u_tau / equation.viscosity, "friction Reynolds number u_tau h/nu"),
            "viscosity": (torch.full_like(u_tau, equation.viscosity), "kinematic viscosity nu"),
            "pressure_gradient": (pressure, "-dp/dx over density, mean from first to last frame"),
        }
        stresses = Field(stress, ("time",), "wall stress over density, mean of both walls")
        turnovers = Field(u_tau[:, None] * since, ("time",), "time since the start in h/u_tau")
        x, z = (torch.arange(n, dtype=torch.float64) / n for n in (nx, nz))
        y = torch.from_numpy(self.grid.y) + 1
        unit = "over the laminar centreline velocity"
        return Solution(
            fields={
                **{n: Field(values, axes, f"{text} {unit}") for (n, text), values in velocities},
                "wall_stress": stresses,
                "turnovers": turnovers,
                **{name: Field(values, (), text) for name, (values, text) in scalars.items()},
            },
            axes={
                "time": Axis(times, "time after the spin-up"),
                "x": Axis(lengths[0] * x, "position along the flow", periodic=True),
                "y": Axis(y, "distance from the lower wall", periodic=False),
                "z": Axis(lengths[1] * z, "position along the span", periodic=True),
            },
        )


def _state(
    step: int, flow: Flow, velocity: Tensor, stress: Tensor, pressure: Tensor
) -> dict[str, Tensor]:
    about = {"velocity": velocity, "stress": stress, "pressure": pressure}
    return {"step": torch.tensor(step), **flow._asdict(), **about}


def _flow(state: dict[str, Tensor]) -> Flow:
    return Flow(*(state[name] for name in Flow._fields))
