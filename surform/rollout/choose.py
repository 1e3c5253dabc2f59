"""The observers that fit some data, for those who do not want to choose."""

from __future__ import annotations

from surform.data.description import FieldsDescription
from surform.rollout.ensemble import Ensemble
from surform.rollout.errors import VRMSE, Correlation, Mean, Persistence, RelativeL2
from surform.rollout.observers import Observer
from surform.rollout.probabilistic import CRPS, SpreadSkill
from surform.rollout.spectra import EnergySpectrum, Enstrophy, KineticEnergy

__all__ = ["observers_for"]


def observers_for(grid: FieldsDescription, ensemble: Ensemble | None = None) -> list[Observer]:
    """Errors with their baseline; spectra on periodic grids; flow integrals of a 2-D vorticity."""
    chosen: list[Observer] = [
        RelativeL2(),
        VRMSE(),
        Correlation(),
        Persistence(RelativeL2()),
        Persistence(Correlation()),
    ]
    periodic = all(grid.periodic.get(axis, False) for axis in grid.axes)
    vorticity = "vorticity" if "vorticity" in grid.targets and len(grid.axes) == 2 else None
    if vorticity:
        chosen.append(Enstrophy(vorticity))
    if periodic:
        chosen.append(EnergySpectrum(vorticity))
    if periodic and vorticity:
        chosen.append(KineticEnergy(vorticity=vorticity))
    else:
        chosen.append(Mean())
    if ensemble is not None and ensemble.members > 1:
        chosen += [CRPS(), SpreadSkill()]
    return chosen
