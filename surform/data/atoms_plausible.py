"""Whether numbers can be in the units they are taken for: distances, energies, forces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surform.data.atoms_source import AtomsSource
from surform.data.atoms_structure import Structure
from surform.data.atoms_units import ENERGIES, FORCES
from surform.data.elements import ATOM_ENERGIES

__all__ = ["implausible"]

_LOOKED_AT = 64
_SHORT, _SHORT_H, _LONG_H = 0.45, 1.6, 2.8  # [Å]
# all-electron energies of molecules and crystals over those of their free atoms
_BOUND = (0.99, 1.03)
_LARGE_FORCES = 20.0  # [eV/Å], far above those at room temperature
_STEP = 0.5  # [Å], of atoms between structures that are compared
_PAIRS, _ALIKE = 16, 0.8
_FITS = (0.6, 1.6)


def implausible(source: AtomsSource, numbers: Sequence[int] | np.ndarray) -> list[str]:
    """Sentences on what is odd, of some structures.

    Args:
        numbers: of the structures that may be looked at.

    Raises:
        ValueError: what cannot be right, unless the user has stated the unit.
    """
    stated = source.reading.units.stated
    chosen = np.asarray(numbers)[_spread(len(numbers))]
    structures = [source.read(int(number)) for number in chosen]
    _check_distances(structures, source.name, "length" in stated)
    if "energy" not in stated:
        _check_total_energies(structures, source.name)
    if "forces" not in stated:
        _check_work(source, chosen)
    return [*_odd_distances(structures, source.name), *_odd_forces(structures, source.name)]


def _check_distances(structures: Sequence[Structure], name: str, stated: bool) -> None:
    nearest = _nearest(structures)
    if len(nearest) and (middle := float(np.median(nearest))) < _SHORT:
        unit = "another unit than the stated" if stated else "nm: set data.units.length to nm"
        raise ValueError(
            f"atoms of {name} are {middle:.2g} Å from their nearest, less than any bond: positions "
            f"are probably in {unit}"
        )


def _odd_distances(structures: Sequence[Structure], name: str) -> list[str]:
    hydrogen = _nearest(structures, element=1)
    if not len(hydrogen) or not _SHORT_H < (middle := float(np.median(hydrogen))) < _LONG_H:
        return []
    return [
        f"Hydrogen of {name} is {middle:.2f} Å from the nearest atom, twice a usual bond: if "
        "positions are in bohr, set data.units.length."
    ]


def _check_total_energies(structures: Sequence[Structure], name: str) -> None:
    """Energies of all electrons are nearly those of free atoms, which tells their unit."""
    table = np.array(ATOM_ENERGIES)
    ratios = [
        s.energy / table[s.numbers].sum()
        for s in structures
        if not np.isnan(s.energy) and s.numbers.max() < len(table) and s.numbers.max() > 2
    ]
    if not ratios:
        return
    ratio = float(np.median(ratios)) / ENERGIES["Hartree"]
    for unit, factor in ENERGIES.items():
        if unit != "eV" and _within(ratio * factor, _BOUND):
            raise ValueError(
                f"energies of {name} are those of all electrons in {unit}, not in eV: set "
                f"data.units.energy to {unit} (to eV where they are right)"
            )


def _odd_forces(structures: Sequence[Structure], name: str) -> list[str]:
    squares = [(s.forces[s.free] ** 2).ravel() for s in structures]
    values = np.concatenate(squares)
    rms = float(np.sqrt(values[~np.isnan(values)].mean())) if not np.isnan(values).all() else 0.0
    if rms < _LARGE_FORCES:
        return []
    return [
        f"Forces of {name} are {rms:.3g} eV/Å in the mean, far from any equilibrium: if they "
        "are in another unit, set data.units.forces."
    ]


def _check_work(source: AtomsSource, numbers: np.ndarray) -> None:
    """Energies of neighbouring frames must differ by the work of forces between them."""
    pairs = [pair for n in numbers if (pair := _work(source, int(n))) is not None]
    if len(pairs) < _PAIRS:
        return
    work, change = np.array(pairs).T
    if not (work.std() and change.std()) or abs(np.corrcoef(work, change)[0, 1]) < _ALIKE:
        return
    slope = float((work * change).sum() / (work**2).sum())
    if _within(slope, _FITS):
        return
    unit = _fitting(slope * source.reading.units.forces)
    atoms = len(source.read(int(numbers[0])))
    if _within(slope * atoms, _FITS):
        other = f", or set data.units.forces if these are in {unit}" if unit else ""
        raise ValueError(
            f"energies of {source.name} change by 1/{1 / slope:.3g} of what forces do between "
            f"frames: they seem to be per atom, but must be those of whole structures{other}"
        )
    fits = f" {unit} fits" if unit else " which fits none that is known"
    raise ValueError(
        f"forces of {source.name} do not belong to its energies, which change by {slope:.3g} times "
        f"what forces do between frames: set data.units.forces,{fits}"
    )


def _fitting(factor: float) -> str | None:
    """The unit of forces of about this factor, with a minus for gradients."""
    for sign in ("", "-"):
        for unit, known in FORCES.items():
            if _within((-factor if sign else factor) / known, _FITS):
                return f"{sign}{unit}"
    return None


def _work(source: AtomsSource, number: int) -> tuple[float, float] | None:
    """The work of forces from one structure to the next, and the change of the energy."""
    if number + 1 >= len(source):
        return None
    one, two = source.read(number), source.read(number + 1)
    if not np.array_equal(one.numbers, two.numbers) or not (one.free.all() and two.free.all()):
        return None
    step = two.positions - one.positions
    if np.abs(step).max() > _STEP or np.abs(one.cell - two.cell).max() > 1e-6:
        return None
    work = -0.5 * float(((one.forces + two.forces) * step).sum())
    change = two.energy - one.energy
    return None if np.isnan(work + change) else (work, change)


def _nearest(structures: Sequence[Structure], element: int | None = None) -> np.ndarray:
    """Distances to the nearest atom, of images too where they are next to the cell."""
    found = []
    for structure in structures:
        if len(structure) > 200:  # all pairs are looked at
            continue
        steps = [[-1, 0, 1] if periodic else [0] for periodic in structure.pbc]
        shifts = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3) @ structure.cell
        apart = structure.positions[:, None] - structure.positions[None]
        distances = np.linalg.norm(apart[:, :, None] + shifts, axis=-1)
        distances[distances < 1e-6] = np.inf
        own = distances.min(axis=(1, 2))
        chosen = slice(None) if element is None else structure.numbers == element
        found.append(own[chosen])
    values = np.concatenate(found) if found else np.zeros(0)
    return values[np.isfinite(values)]


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int))


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]
