"""Energies of single atoms by least squares, and the size of what is left and of forces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from surform.data.atoms_structure import Structure
from surform.data.elements import SYMBOLS, atomic_number

__all__ = ["AtomsStatistics", "References", "measure"]

References = str | dict[str, float]
_NEAR = 1e-9  # of the largest energy: below this they are all the same


@dataclass(frozen=True)
class AtomsStatistics:
    """What a network is trained with, in eV and Å.

    elements: atomic numbers that occur. references: energy of one atom of each [eV]; empty where
    none are taken off. energy_mean, energy_std: over structures, of what is left of energies.
    forces_rms: over components of free atoms. atoms: mean number. structures: how many were
    measured. labels: those that any of them has. stress: stress_isotropic_mean and _std of the
    trace over sqrt(3), stress_anisotropic_std of the five other components [eV/Å^3]; empty where
    no stress is known.
    """

    elements: tuple[int, ...]
    references: dict[int, float]
    energy_mean: float
    energy_std: float
    forces_rms: float
    atoms: float
    structures: int
    labels: tuple[str, ...]
    stress: dict[str, float] = field(default_factory=dict)


def measure(
    structures: Iterable[Structure],
    references: References = "least_squares",
    progress: Callable[[int], None] = lambda done: None,
) -> AtomsStatistics:
    """Statistics over training structures.

    Of references by least squares the mean of what is left is taken to be 0, so that energies of
    separate systems add up; where compositions do not tell elements apart (one molecule), theirs
    are the smallest that fit.

    Args:
        references: "least_squares", "none", or the energy of one atom of each element, by symbol.

    Raises:
        ValueError: no structures; an unknown word; an element without a reference.
    """
    compositions, energies, squares, components = [], [], 0.0, 0
    labels: set[str] = set()
    stresses = []
    for done, structure in enumerate(structures, start=1):
        compositions.append(np.bincount(structure.numbers, minlength=len(SYMBOLS)))
        energies.append(structure.energy)
        labels |= set(structure.known())
        forces = structure.forces[structure.free]
        if not np.isnan(forces).any():
            squares += float((forces**2).sum())
            components += forces.size
        if not np.isnan(structure.stress).any():
            stresses.append(structure.stress)
        progress(done)
    if not compositions:
        raise ValueError("there are no structures to take statistics of")
    counts, energy = np.stack(compositions), np.array(energies)
    elements = np.flatnonzero(counts.any(0))
    known = ~np.isnan(energy)
    table = _references(references, elements, counts[known][:, elements], energy[known])
    left = energy[known] - counts[known][:, elements] @ table
    mean, std = _moments(left, float(np.abs(energy[known]).max(initial=0.0)))
    if references == "least_squares":
        std, mean = float(np.hypot(std, mean)), 0.0
    rms = float(np.sqrt(squares / components)) if components else 1.0
    return AtomsStatistics(
        elements=tuple(elements.tolist()),
        references=dict(zip(elements.tolist(), table.tolist(), strict=True))
        if references != "none"
        else {},
        energy_mean=mean,
        energy_std=std,
        forces_rms=rms or 1.0,
        atoms=float(counts.sum(1).mean()),
        structures=len(counts),
        labels=tuple(sorted(labels)),
        stress=_stress_statistics(np.array(stresses)) if stresses else {},
    )


def _stress_statistics(stresses: np.ndarray) -> dict[str, float]:
    isotropic = np.trace(stresses, axis1=1, axis2=2) / np.sqrt(3)
    rest = np.maximum((stresses**2).sum((1, 2)) - isotropic**2, 0) / 5
    found = {
        "stress_isotropic_mean": float(isotropic.mean()),
        "stress_isotropic_std": float(isotropic.std()),
        "stress_anisotropic_std": float(np.sqrt(rest.mean())),
    }
    return {n: v if v or n.endswith("mean") else 1.0 for n, v in found.items()}


def _references(
    given: References, elements: np.ndarray, counts: np.ndarray, energy: np.ndarray
) -> np.ndarray:
    """The energy of one atom of each element [eV]."""
    if isinstance(given, Mapping):
        table = {atomic_number(symbol): float(value) for symbol, value in given.items()}
        lacking = [SYMBOLS[number] for number in elements.tolist() if number not in table]
        if lacking:
            raise ValueError(f"references give no energy for {', '.join(lacking)}, which occur")
        return np.array([table[number] for number in elements.tolist()])
    if given == "none":
        return np.zeros(len(elements))
    if given != "least_squares":
        raise ValueError(
            f"references is {given!r}, but can be least_squares, none, or energies by element"
        )
    return np.linalg.lstsq(counts.astype(np.float64), energy, rcond=1e-10)[0]


def _moments(values: np.ndarray, largest: float) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    mean, std = float(values.mean()), float(values.std())
    return mean, std if std > _NEAR * largest else 1.0
