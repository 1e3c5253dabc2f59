"""How many neighbours atoms have at each distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from numpy.typing import ArrayLike

from surform.data.atoms_neighbors import neighbor_list

__all__ = ["RadialDistribution", "radial_distribution"]


@dataclass(frozen=True, eq=False)
class RadialDistribution:
    """By pairs of elements, averaged over frames.

    distance: the middles of the bins [Å]. values: by pair, such as "O-H": g(r), 1 where atoms lie
    as in an ideal gas, in cells that are periodic along all axes; elsewhere neighbours of the
    second element around an atom of the first per Å. normalized: whether it is g(r).
    """

    distance: np.ndarray
    values: Mapping[str, np.ndarray]
    normalized: bool


def radial_distribution(
    positions: ArrayLike,
    numbers: ArrayLike,
    *,
    cell: ArrayLike | None = None,
    pbc: ArrayLike = False,
    farthest: float = 6.0,
    bins: int = 120,
) -> RadialDistribution:
    """Count neighbours up to a distance, images of cells included.

    Args:
        positions: (frames, atoms, 3) or (atoms, 3) [Å]. numbers: (atoms,) atomic numbers.
        cell: (3, 3) [Å], of all frames. pbc: (3,) or one word. farthest: [Å].

    Raises:
        ValueError: shapes that do not go together, or no frames.
    """
    from ase.data import chemical_symbols

    places = np.asarray(positions, float)
    places = places[None] if places.ndim == 2 else places
    elements = np.asarray(numbers)
    if places.ndim != 3 or places.shape[1:] != (len(elements), 3) or not len(places):
        raise ValueError(
            f"positions must be (frames, {len(elements)}, 3) for {len(elements)} atoms, not "
            f"{places.shape}"
        )
    if not farthest > 0 or bins < 1:
        raise ValueError("farthest must be a positive distance, and bins at least 1")
    periodic = np.broadcast_to(np.asarray(pbc, bool), (3,)).copy()
    lattice = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    kinds = sorted(set(elements.tolist()))
    place_of = {number: place for place, number in enumerate(kinds)}
    kind = torch.tensor([place_of[number] for number in elements.tolist()])
    many = len(kinds)
    counts = torch.zeros(many * many * bins, dtype=torch.float64)
    for frame in places:
        found = neighbor_list(
            torch.from_numpy(frame.copy()),
            farthest,
            cell=torch.from_numpy(lattice),
            pbc=torch.from_numpy(periodic),
        )
        source, target = kind[found.edge_index]
        place = (found.distances / farthest * bins).long().clamp(max=bins - 1)
        counts += torch.bincount((target * many + source) * bins + place, minlength=len(counts))
    table = counts.view(many, many, bins).numpy() / len(places)
    edges = np.linspace(0, farthest, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    normalized = bool(periodic.all())
    values = {}
    for a, b in combinations_with_replacement(range(many), 2):
        around = table[a, b] / int((kind == a).sum())
        scale = np.diff(edges)
        if normalized:
            scale = shells * int((kind == b).sum()) / abs(np.linalg.det(lattice))
        values[f"{chemical_symbols[kinds[a]]}-{chemical_symbols[kinds[b]]}"] = around / scale
    return RadialDistribution((edges[1:] + edges[:-1]) / 2, values, normalized)
