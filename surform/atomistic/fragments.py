"""Whether a structure has fallen apart: the pieces that bonds hold together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["fragments"]

_STRETCHED = 1.5  # times the sum of the covalent radii: no bond is that long, even at its widest


def fragments(atoms: Atoms) -> int:
    """The number of pieces; atoms of one are joined by pairs that are near enough for a bond.

    Near enough is 1.5 times the sum of the covalent radii (Cordero et al., Dalton Trans. 2008,
    2832), across periodic boundaries, too.
    """
    import numpy as np
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    reach = _STRETCHED * covalent_radii[atoms.numbers]
    source, target = neighbor_list("ij", atoms, reach)
    bonds = coo_array((np.ones(len(source)), (source, target)), shape=(len(atoms), len(atoms)))
    return int(connected_components(bonds, directed=False)[0])
