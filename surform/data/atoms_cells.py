"""Cells and periodic axes of a batch of structures, and the bins that their space is cut into."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Boxes"]

_FLAT = 1e-8  # volume of unit lattice vectors below which a cell has none
_THIN = 0.1  # [Å] between lattice planes: images nearer than that are no structure, but very many
_FINE = 8  # atoms in a bin from which smaller ones pay


@dataclass(frozen=True)
class Boxes:
    """One row per structure; tensors lie on the CPU, save for `batch`.

    batch: structure of each atom. cell: as given, zeros where none was, (B, 3, 3). axes: the cell
    with orthogonal unit vectors for axes that are not periodic. pbc: (B, 3). start, extent: where
    bins start and how far they reach, in units of the axes. bins: their number along each axis.
    reach: how many bins a neighbour may be away.
    """

    batch: Tensor
    cell: Tensor
    axes: Tensor
    pbc: Tensor
    start: Tensor
    extent: Tensor
    bins: Tensor
    reach: Tensor

    @classmethod
    def of(
        cls,
        positions: Tensor,
        cutoff: float,
        cell: Tensor | None,
        pbc: Tensor | bool | None,
        batch: Tensor | None,
    ) -> Boxes:
        """Boxes that hold all atoms; ValueError says what is wrong, and where."""
        _check_positions(positions)
        if not (cutoff > 0 and math.isfinite(cutoff)):
            raise ValueError(f"cutoff is {cutoff}, but must be a positive number of Å")
        batch = _batch(positions, batch)
        given = 1 if cell is None or cell.ndim == 2 else len(cell)
        count = max(given, int(batch.max()) + 1 if len(batch) else 0)
        cells, periodic = _cells(cell, count), _periodic(pbc, cell is not None, count)
        axes = torch.stack([_completed(c, p, b) for b, (c, p) in enumerate(zip(cells, periodic))])  # noqa: B905
        inverse = torch.linalg.inv(axes)
        places = positions.detach().double().cpu()
        fractions = (places[:, None] @ inverse[batch.cpu()])[:, 0]
        start, extent = _extents(fractions, periodic, batch.cpu(), count)
        # distance between the planes that bound a box, per axis
        height = extent / inverse.norm(dim=1)
        atoms = torch.bincount(batch.cpu(), minlength=count)
        bins = _bins(height, cutoff, atoms)
        # where a box ends there is nothing, however thin it is
        reach = torch.ceil(cutoff * bins / height - 1e-9).clamp(min=1).long()
        reach = torch.where(periodic, reach, torch.minimum(reach, (bins - 1).clamp(min=0)))
        return cls(batch, cells, axes, periodic, start, extent, bins, reach)


def _check_positions(positions: Tensor) -> None:
    if positions.ndim != 2 or positions.shape[1] != 3 or not positions.is_floating_point():
        raise ValueError(
            f"positions must be floating-point (atoms, 3), not {positions.dtype} of shape "
            f"{tuple(positions.shape)}"
        )
    finite = positions.detach().isfinite().all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise ValueError(f"the position of atom {first} is not finite: {positions[first].tolist()}")


def _batch(positions: Tensor, batch: Tensor | None) -> Tensor:
    if batch is None:
        return torch.zeros(len(positions), dtype=torch.int64, device=positions.device)
    if batch.shape != (len(positions),):
        raise ValueError(
            f"batch has shape {tuple(batch.shape)}, expected ({len(positions)},): one structure per"
            " atom"
        )
    if bool((batch[1:] < batch[:-1]).any()):
        raise ValueError("batch must not decrease: the atoms of a structure stand together")
    return batch


def _cells(cell: Tensor | None, count: int) -> Tensor:
    if cell is None:
        return torch.zeros(count, 3, 3, dtype=torch.float64)
    if cell.shape[-2:] != (3, 3) or cell.ndim not in (2, 3):
        raise ValueError(f"cell has shape {tuple(cell.shape)}, expected (3, 3) or (B, 3, 3)")
    cell = cell.detach().double().cpu()
    if not bool(cell.isfinite().all()):
        raise ValueError("the cell holds numbers that are not finite")
    if cell.ndim == 2:
        return cell.expand(count, 3, 3)
    if len(cell) != count:
        raise ValueError(f"there are {len(cell)} cells for {count} structures")
    return cell


def _periodic(pbc: Tensor | bool | None, has_cell: bool, count: int) -> Tensor:
    pbc = has_cell if pbc is None else pbc
    if not isinstance(pbc, Tensor):
        pbc = torch.full((3,), bool(pbc))
    if pbc.shape not in ((3,), (count, 3)):
        raise ValueError(f"pbc has shape {tuple(pbc.shape)}, expected (3,) or ({count}, 3)")
    pbc = pbc.bool().cpu().expand(count, 3)
    if bool(pbc.any()) and not has_cell:
        raise ValueError("pbc is on, but there is no cell: give its lattice vectors")
    return pbc


def _completed(cell: Tensor, periodic: Tensor, number: int) -> Tensor:
    """The cell with unit vectors orthogonal to all others where an axis is not periodic."""
    kept = cell[periodic]
    lengths = kept.norm(dim=1)
    unit = kept / lengths.clamp(min=1e-300)[:, None]
    span = torch.linalg.svdvals(unit).prod() if len(kept) else torch.ones(())
    if bool((lengths < 1e-6).any()) or float(span) < _FLAT:
        raise ValueError(
            f"the periodic lattice vectors of structure {number} span no volume: {cell.tolist()}"
        )
    rest = torch.linalg.svd(kept, full_matrices=True).Vh[len(kept) :]
    if not len(kept):
        rest = torch.eye(3, dtype=torch.float64)
    axes = torch.empty(3, 3, dtype=torch.float64)
    axes[periodic], axes[~periodic] = kept, rest
    height = float((1 / torch.linalg.inv(axes).norm(dim=0))[periodic].min()) if len(kept) else 1.0
    if height < _THIN:
        raise ValueError(
            f"the periodic lattice vectors of structure {number} repeat every {height:.2g} Å, "
            f"nearer than {_THIN} Å: are they in another unit?"
        )
    return axes


def _extents(
    fractions: Tensor, periodic: Tensor, batch: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    index = batch[:, None].expand(-1, 3)
    low, high = (
        torch.zeros(count, 3, dtype=torch.float64).scatter_reduce(
            0, index, fractions, way, include_self=False
        )
        for way in ("amin", "amax")
    )
    start = torch.where(periodic, 0.0, low)
    return start, torch.where(periodic, 1.0, (high - low).clamp(min=1e-6))


def _bins(height: Tensor, cutoff: float, atoms: Tensor) -> Tensor:
    """As many as the cutoff fits, twice as many where they are full, but not more than atoms."""
    most = torch.ceil((8.0 * atoms.double()) ** (1 / 3)).clamp(min=1)[:, None]
    bins = torch.minimum((height / cutoff).floor().clamp(min=1), most)
    full = (atoms / bins.prod(1) > _FINE)[:, None]
    finer = torch.minimum((2 * height / cutoff).floor().clamp(min=1), 2 * most)
    return torch.where(full, finer, bins).long()
