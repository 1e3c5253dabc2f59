"""Figures of energies and forces: each with one entry per structure or atom that counts in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.atomistic.energy_forces import AtomsPrediction
from surform.data.atoms_batch import AtomsBatch

__all__ = ["ENERGY", "FORCES", "STRESS", "figures", "force_errors_of_elements"]

ENERGY = ("energy_mae", "energy_mae_per_atom")
FORCES = ("force_mae", "force_rmse", "force_cosine", "efwt")
STRESS = ("stress_mae",)
_NEAR = (0.02, 0.03)  # [eV], [eV/Å] of EFwT


def figures(prediction: AtomsPrediction, batch: AtomsBatch) -> dict[str, Tensor]:
    """The figures of a batch by name, what is unknown left out; of a prediction in physical units.

    energy_mae, energy_mae_per_atom: of structures. force_mae, force_rmse (the square, before the
    root), force_cosine: of free atoms, means over components. efwt: structures whose energy is off
    by less than 0.02 eV and no component of whose forces by 0.03 eV/Å (as OC20 defines it:
    Chanussot et al., 2021, arXiv 2010.09990). stress_mae: of structures, mean over components.
    """
    error = (prediction.output - prediction.target).abs()
    known = error.isfinite()
    atoms = torch.bincount(batch.batch, minlength=len(batch)).clamp(min=1)
    found = {"energy_mae": error[known], "energy_mae_per_atom": (error / atoms)[known]}
    if prediction.forces is not None and prediction.force_target is not None:
        found |= _of_forces(prediction.forces, prediction.force_target, error, batch)
    if prediction.stress is not None and prediction.stress_target is not None:
        off = (prediction.stress - prediction.stress_target).abs().flatten(1)
        found["stress_mae"] = off[off.isfinite().all(1)].mean(1)
    return found


def force_errors_of_elements(
    prediction: AtomsPrediction, batch: AtomsBatch, elements: int
) -> dict[str, Tensor]:
    """Errors of free atoms' forces in the column of their element, and ones there."""
    assert prediction.forces is not None
    assert prediction.force_target is not None
    error = (prediction.forces - prediction.force_target).abs().mean(1)
    counted = error.isfinite() & batch.free
    which = F.one_hot(batch.numbers[counted], elements).to(error)
    return {"force_error": which * error[counted, None], "share_of_element": which}


def _of_forces(
    forces: Tensor, target: Tensor, energy_error: Tensor, batch: AtomsBatch
) -> dict[str, Tensor]:
    off = (forces - target).abs()
    known = off.isfinite().all(1)
    counted = known & batch.free
    unknown = (~known & batch.free).to(off)
    largest = torch.where(counted, off.amax(1), 0.0)
    worst, missing = (
        off.new_zeros(len(batch)).scatter_reduce_(0, batch.batch, each, "amax")
        for each in (largest, unknown)
    )
    near = (energy_error < _NEAR[0]) & (worst < _NEAR[1])
    return {
        "force_mae": off[counted].mean(1),
        "force_rmse": off[counted].square().mean(1),
        "force_cosine": F.cosine_similarity(forces[counted], target[counted], dim=1),
        "efwt": near[energy_error.isfinite() & (missing == 0)].to(off),
    }
