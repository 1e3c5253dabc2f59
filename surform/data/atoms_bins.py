"""Pairs of atoms within a cutoff: each atom looks into the bins around it, or vesin does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from surform.data import atoms_vesin
from surform.data.atoms_cells import Boxes

__all__ = ["search"]

_CANDIDATES = 1 << 20  # pairs that are measured at a time
Found = tuple[Tensor, Tensor, Tensor, Tensor]


def search(positions: Tensor, cutoff: float, boxes: Boxes) -> Found:
    """Sources, targets, offsets (E, 3) and squared distances of all pairs, in no special order."""
    device, batch = positions.device, boxes.batch
    axes = boxes.axes.to(device, positions.dtype)
    fractions = (positions[:, None] @ torch.linalg.inv(boxes.axes).to(axes)[batch])[:, 0]
    periodic = boxes.pbc.to(device)[batch]
    # atoms outside of their cell are brought back into it
    turns = torch.where(periodic, fractions.floor(), 0.0)
    inside = positions - (turns[:, None] @ axes[batch])[:, 0]
    lattice = torch.where(boxes.pbc[:, :, None], boxes.axes, 0.0).to(axes)
    if atoms_vesin.is_there(positions):
        pairs = atoms_vesin.candidates(inside, cutoff, boxes)
    else:
        pairs = _through_bins(boxes, fractions - turns)
    parts = [_measured(inside, cutoff, batch, lattice, *part) for part in pairs]
    if not parts:
        nobody = batch[:0]
        return nobody, nobody, turns[:0].long(), positions[:0, 0]
    source, target, images, squared = (torch.cat(each) for each in zip(*parts, strict=True))
    turns = turns.long()
    return source, target, images + turns[target] - turns[source], squared


def _through_bins(boxes: Boxes, fractions: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    batch = boxes.batch
    where = (fractions - boxes.start.to(fractions)[batch]) / boxes.extent.to(fractions)[batch]
    bins = boxes.bins.to(batch.device)
    own = torch.minimum((where * bins[batch]).long().clamp(min=0), bins[batch] - 1)
    return _Looks(boxes, batch, own).candidates(_CANDIDATES)


class _Looks:
    """Which bins each atom looks into, and who is there."""

    def __init__(self, boxes: Boxes, batch: Tensor, own: Tensor) -> None:
        device = batch.device
        self.batch, self.own = batch, own
        self.bins, self.periodic = boxes.bins.to(device), boxes.pbc.to(device)
        counts = self.bins.prod(1)
        self.first = counts.cumsum(0) - counts  # number of each structure's first bin
        label = self._label(batch, own)
        self.order = label.argsort(stable=True)  # atoms, bin after bin
        self.held = torch.bincount(label, minlength=int(counts.sum()))
        self.starts = self.held.cumsum(0) - self.held
        steps = [_steps(reach) for reach in boxes.reach.tolist()]
        self.steps = torch.cat(steps).to(device) if steps else own[:0]
        self.step_counts = torch.tensor([len(each) for each in steps], device=device).long()
        self.step_starts = self.step_counts.cumsum(0) - self.step_counts

    def _label(self, batch: Tensor, bins: Tensor) -> Tensor:
        n = self.bins[batch]
        return self.first[batch] + (bins[:, 0] * n[:, 1] + bins[:, 1]) * n[:, 2] + bins[:, 2]

    def candidates(self, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Atoms, others and the others' images (P, 3), about `most` pairs at a time."""
        atom, label, image = self._bins_to_look_into()
        count = self.held[label]
        ends = count.cumsum(0)
        total = int(ends[-1]) if len(ends) else 0
        edges = torch.arange(most, total + most, most, device=ends.device)
        cuts = [0, *torch.searchsorted(ends, edges.clamp(max=total)).add(1).tolist()]
        cuts = [*cuts[:-1], len(count)] if total else [0, 0]
        for start, stop in pairwise(cuts):
            own = slice(start, stop)
            several = count[own]
            which = torch.repeat_interleave(several)
            before = several.cumsum(0) - several
            place = torch.arange(len(which), device=which.device) - before[which]
            other = self.order[self.starts[label[own]][which] + place]
            yield atom[own][which], other, image[own][which]

    def _bins_to_look_into(self) -> tuple[Tensor, Tensor, Tensor]:
        """(atom, bin, image of the bin) of all that lie within reach and hold anybody."""
        several = self.step_counts[self.batch]
        atom = torch.repeat_interleave(several)
        place = torch.arange(len(atom), device=atom.device) - (several.cumsum(0) - several)[atom]
        structure = self.batch[atom]
        reached = self.own[atom] + self.steps[self.step_starts[structure] + place]
        n = self.bins[structure]
        image = torch.div(reached, n, rounding_mode="floor")
        label = self._label(structure, reached - image * n)
        exists = ((image == 0) | self.periodic[structure]).all(1) & (self.held[label] > 0)
        return atom[exists], label[exists], image[exists]


def _steps(reach: list[int]) -> Tensor:
    return torch.cartesian_prod(*(torch.arange(-r, r + 1) for r in reach)).view(-1, 3)


def _measured(
    inside: Tensor,
    cutoff: float,
    batch: Tensor,
    lattice: Tensor,
    atom: Tensor,
    other: Tensor,
    image: Tensor,
) -> Found:
    vectors = inside[other] - inside[atom]
    moved = image.any(1).nonzero()[:, 0]
    shifts = image[moved].to(inside.dtype)[:, None] @ lattice[batch[atom[moved]]]
    vectors.index_add_(0, moved, shifts[:, 0])
    squared = vectors.square().sum(1)
    near = squared <= cutoff * cutoff
    near &= (atom != other) | image.any(1)
    near = near.nonzero()[:, 0]
    return other[near], atom[near], image[near], squared[near]
