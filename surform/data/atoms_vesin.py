"""Pairs of atoms that may be neighbours from vesin, a compiled search, where that is installed.

Only which pairs are looked at comes from there, for a cutoff that is a little larger: distances are
taken as everywhere else, so that results are the same bits with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from surform.data.atoms_cells import Boxes

__all__ = ["candidates", "is_there"]

_MARGIN = {torch.float64: 1e-9, torch.float32: 1e-3}  # [Å], beyond rounding in each precision


def is_there(positions: Tensor) -> bool:
    """Whether vesin can look for the neighbours of these atoms."""
    known = positions.device.type == "cpu" and positions.dtype in _MARGIN
    return known and _installed()


@cache
def _installed() -> bool:
    return find_spec("vesin") is not None


def candidates(
    inside: Tensor, cutoff: float, boxes: Boxes
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Atoms, others and the others' images (P, 3), of one structure at a time.

    Args:
        inside: positions within the cells, along axes that are periodic.
    """
    import vesin

    search = vesin.NeighborList(cutoff=cutoff + _MARGIN[inside.dtype], full_list=True)
    places = inside.double().numpy()
    first = 0
    counts = torch.bincount(boxes.batch, minlength=len(boxes.axes)).tolist()
    for number, count in enumerate(counts):
        if not count:
            continue
        atom, other, image = search.compute(
            points=places[first : first + count],
            box=boxes.axes[number].numpy(),
            periodic=boxes.pbc[number].tolist(),
            quantities="ijS",
        )
        found = (torch.from_numpy(each.astype("int64")) for each in (atom, other, image))
        atom, other, image = found
        yield atom + first, other + first, image
        first += count
