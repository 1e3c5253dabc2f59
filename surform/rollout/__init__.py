"""Autoregressive rollout: any one-step or multi-step model, step by step, into labelled arrays.

for frame in rollout(model, inputs, coordinates, steps): ...       # tensors, one at a time
prediction = rollout_to("out.zarr", model, dataset, 200, observers=[RelativeL2()])
"""

from __future__ import annotations

from surform.rollout.corrections import (
    Clamp,
    ConserveMean,
    Correction,
    EnergyLimit,
    SpectralDamping,
)
from surform.rollout.drive import rollout_to
from surform.rollout.ensemble import Ensemble
from surform.rollout.errors import (
    RMSE,
    VRMSE,
    Correlation,
    Mean,
    Persistence,
    RelativeL2,
    correlation_time,
)
from surform.rollout.observers import Observer, Quantity, VariableObserver
from surform.rollout.probabilistic import CRPS, SpreadSkill
from surform.rollout.spectra import EnergySpectrum, Enstrophy, KineticEnergy
from surform.rollout.statistics import Statistics
from surform.rollout.statistics_pool import statistics_of
from surform.rollout.stepping import rollout
from surform.rollout.trajectories import Trajectories

__all__ = [
    "CRPS",
    "RMSE",
    "VRMSE",
    "Clamp",
    "ConserveMean",
    "Correction",
    "Correlation",
    "EnergyLimit",
    "EnergySpectrum",
    "Ensemble",
    "Enstrophy",
    "KineticEnergy",
    "Mean",
    "Observer",
    "Persistence",
    "Quantity",
    "RelativeL2",
    "SpectralDamping",
    "SpreadSkill",
    "Statistics",
    "Trajectories",
    "VariableObserver",
    "correlation_time",
    "rollout",
    "rollout_to",
    "statistics_of",
]
