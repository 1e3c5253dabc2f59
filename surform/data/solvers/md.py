"""Trajectories of molecules and metals, labelled by a physical teacher."""

from __future__ import annotations

from typing import Literal

from surform.data.solvers.md_dynamics import Dynamics
from surform.data.solvers.md_systems import crystal_of, molecule_of
from surform.data.solvers.md_teachers import teacher_of

__all__ = ["md"]

# what the samples are: frames of one trajectory, each made from the one before
TRAJECTORY = True


def md(
    *,
    molecule: str = "ethanol",
    crystal: str | None = None,
    repeat: int = 2,
    teacher: Literal["auto", "gfn2", "emt"] = "auto",
    temperature: float = 500.0,
    step: float = 0.5,
    friction: float = 0.01,
    every: int = 10,
    equilibration: float = 2.0,
) -> Dynamics:
    """Run molecular dynamics and keep frames with energies and forces.

    Relaxation by BFGS to 0.02 eV/Å, then Langevin dynamics by the BAOAB splitting (Leimkuhler,
    Matthews 2013) whose thermostat acts on the centre of mass too. Positions of molecules are
    stored with the centre of mass at 0. In eV, Å, eV/Å and K.

    Args:
        molecule: ethanol, aspirin, a name of the G2 set such as CH3COOH, or a file that ASE reads.
        crystal: instead of it a metal that EMT knows: Al, Cu, Ag, Au, Ni, Pd or Pt, in its cubic
            cell.
        repeat: cubic cells along each side of the crystal.
        teacher: gfn2 is GFN2-xTB by tblite, emt ASE's effective medium theory; auto takes emt for
            crystals.
        temperature: of the thermostat [K].
        step: of time [fs].
        friction: of the thermostat [1/fs].
        every: steps from one frame to the next.
        equilibration: time before the first frame [ps].
    """
    for name, value in (("temperature", temperature), ("step", step), ("friction", friction)):
        if not value > 0:
            raise ValueError(f"{name} is {value}, but must be positive")
    for name, value in (("every", every), ("repeat", repeat)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")
    if equilibration < 0:
        raise ValueError(f"equilibration is {equilibration}, but must not be negative")
    atoms = molecule_of(molecule) if crystal is None else crystal_of(crystal, repeat)
    kind = teacher if teacher != "auto" else "gfn2" if crystal is None else "emt"
    return Dynamics(atoms, teacher_of(kind), temperature, step, friction, every, equilibration)
