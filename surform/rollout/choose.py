"""The observers that fit some data, for those who do not want to choose."""

from __future__ import annotations

from surform.data.description import FieldsDescription
from surform.rollout.errors import RMSE, VRMSE, Correlation, Mean, Persistence, RelativeL2
from surform.rollout.observers import Observer
from surform.rollout.probabilistic import CRPS, SpreadSkill
from surform.rollout.spectra import EnergySpectrum, Enstrophy, KineticEnergy
from surform.rollout.statistics import Statistics, homogeneous_axes, velocity_of

__all__ = ["observers_for"]


def observers_for(grid: FieldsDescription, members: int = 1) -> list[Observer]:
    """Errors with their baseline; spectra, integrals and statistics where the axes allow them.

    Args:
        grid: of the data.
        members: runs from every start, over all models; several are scored as an ensemble.
    """
    chosen: list[Observer] = [
        RelativeL2(),
        VRMSE(),
        Correlation(),
        Persistence(RelativeL2()),
        Persistence(Correlation()),
    ]
    periodic = all(grid.periodic.get(axis, False) for axis in grid.axes)
    vorticity = "vorticity" if "vorticity" in grid.targets and len(grid.axes) == 2 else None
    velocity = velocity_of(grid.axes, grid.targets)
    if vorticity:
        chosen.append(Enstrophy(vorticity))
    if periodic:
        chosen.append(EnergySpectrum(vorticity))
    if periodic and vorticity:
        chosen.append(KineticEnergy(vorticity=vorticity))
    else:
        chosen.append(Mean())
        if velocity:
            chosen.append(KineticEnergy(velocity))
    if homogeneous_axes(grid):
        chosen.append(Statistics())
    if members > 1:
        chosen += [CRPS(), SpreadSkill(), RMSE()]
    return chosen
