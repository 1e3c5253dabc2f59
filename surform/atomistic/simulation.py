"""Molecular dynamics by ASE's integrators, whose every run can be stopped and gone on with."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.atomistic.calculator import Calculator
from surform.atomistic.frames_file import FramesFile

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Simulation", "settings_of", "simulate"]

_SETTLED = 5  # time constants: exp(-5) is below one percent


@dataclass(frozen=True)
class Simulation:
    """How atoms are moved.

    Args:
        steps: of the integrator.
        temperature: [K] of the thermostat and of the velocities at the start, where the structure
            has none.
        timestep: [fs].
        ensemble: "langevin" (constant temperature; atoms feel friction and random pushes, and so
            does the centre of mass) or "nve" (constant energy, velocity Verlet).
        friction: of Langevin [1/fs].
        interval: steps from frame to frame.
        seed: of velocities and pushes; those between two frames are a function of (seed, frame).
    """

    steps: int
    temperature: float | None = None
    timestep: float = 0.5
    ensemble: str = "langevin"
    friction: float = 0.01
    interval: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ensemble not in ("langevin", "nve"):
            raise ValueError(f"ensemble is {self.ensemble!r}, but must be langevin or nve")
        if self.steps < 1 or self.interval < 1:
            raise ValueError("steps and interval must be at least 1")
        if self.steps % self.interval:
            raise ValueError(
                f"steps, {self.steps}, must be a multiple of interval, {self.interval}: a run ends "
                "with a frame"
            )
        for name, least in (("timestep", True), ("friction", False), ("temperature", False)):
            value = getattr(self, name)
            if value is not None and not (value > 0 if least else value >= 0):
                wanted = "must be positive" if least else "must not be negative"
                raise ValueError(f"{name} is {value}, but {wanted}")
        if self.ensemble == "langevin" and self.temperature is None:
            raise ValueError("langevin needs a temperature in K")

    @property
    def remark(self) -> str:
        """What to know of a run too short for its thermostat; "" of others.

        Friction takes kinetic energy at twice its rate, and vibrations hold as much potential
        energy: the temperature nears its mean as exp(-time * friction).
        """
        time, rate = self.steps * self.timestep, self.friction
        if self.ensemble != "langevin" or (rate and time * rate >= _SETTLED):
            return ""
        if not rate:
            return "without friction the thermostat does nothing"
        return (
            f"the run of {time:g} fs is too short for the thermostat, whose time constant, "
            f"1/friction, is {1 / rate:g} fs: the temperature may not have settled at "
            f"{self.temperature:g} K, which takes about {_SETTLED} of these"
        )


def simulate(
    atoms: Atoms,
    calculator: Calculator,
    how: Simulation,
    frames: FramesFile,
    each: Callable[[Atoms, int], None] | None = None,
) -> None:
    """Run until `how.steps`, from the last of `frames` if there is any, adding frames.

    A run that was stopped and one that was not give the same bits.

    Args:
        atoms: the start; moved. each: called with the atoms and the step at every new frame.

    Raises:
        ValueError: the potential has no answer (atoms that collide or fly away); at which step.
    """
    atoms.calc = calculator
    done = frames.read()
    if len(done):
        last = done[-1]
        step = int(last["step"])
        # as they were written: constraints have had their say
        atoms.set_positions(last["positions"], apply_constraint=False)
        atoms.set_momenta(last["momenta"], apply_constraint=False)
    else:
        step = 0
        _warm(atoms, how)
        _write(frames, atoms, 0)
        if each is not None:
            each(atoms, 0)
    move = _integrator(atoms, how)
    while step < how.steps:
        number = step // how.interval
        move.rng = np.random.default_rng((how.seed, 1, number))
        try:
            for _ in range(how.interval):
                step += 1
                move.step()
            _write(frames, atoms, step)
        except ValueError as error:
            raise ValueError(f"the run broke at step {step}: {error}") from error
        if each is not None:
            each(atoms, step)


def settings_of(atoms: Atoms, calculator: Calculator, how: Simulation) -> dict[str, Any]:
    """What a run that goes on must share with the one before, as plain values."""
    start = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions, atoms.get_momenta(), atoms.cell.array, atoms.pbc):
        start.update(np.ascontiguousarray(array).tobytes())
    for constraint in atoms.constraints:
        start.update(repr(constraint).encode())
    model = calculator.evaluator.model
    weights = hashlib.sha256(str(model.energy.mean.dtype).encode())
    for name, value in model.state_tensors().items():
        weights.update(name.encode())
        weights.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    values = {name: value for name, value in asdict(how).items() if name != "steps"}
    return values | {"structure": start.hexdigest()[:12], "model": weights.hexdigest()[:12]}


def _warm(atoms: Atoms, how: Simulation) -> None:
    """Velocities of the temperature (Maxwell and Boltzmann), unless the structure has some."""
    from ase import units

    if how.temperature is None or atoms.get_momenta().any():
        return
    drawn = np.random.default_rng((how.seed, 0)).normal(size=(len(atoms), 3))
    width = np.sqrt(atoms.get_masses() * units.kB * how.temperature)
    atoms.set_momenta(width[:, None] * drawn)


def _integrator(atoms: Atoms, how: Simulation) -> Any:
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.verlet import VelocityVerlet

    if how.ensemble == "nve":
        return VelocityVerlet(atoms, how.timestep * units.fs)
    # fixcm=True samples a wrong distribution: few atoms come out too hot. ASE is about to remove
    # the option, and with it that default.
    option = {"fixcm": False} if "fixcm" in inspect.signature(Langevin).parameters else {}
    return Langevin(
        atoms,
        how.timestep * units.fs,
        temperature_K=how.temperature,
        friction=how.friction / units.fs,
        **option,  # type: ignore[arg-type]
    )


def _write(frames: FramesFile, atoms: Atoms, step: int) -> None:
    frames.append(
        step=step,
        energy=atoms.get_potential_energy(),
        positions=atoms.positions,
        momenta=atoms.get_momenta(),
        forces=atoms.get_forces(apply_constraint=False),
    )
