from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from surform.data.atoms_batch import Graph, collate, split_edges
from surform.data.atoms_neighbors import neighbor_list
from surform.data.atoms_structure import Structure

GRAPH = Graph(cutoff=3.0)


def structure(atoms=3, periodic=False, seed=0, **changes):
    """Atoms that keep apart, labelled with random numbers."""
    draw = np.random.default_rng(seed)
    made = Structure(
        numbers=draw.integers(1, 9, atoms),
        positions=np.arange(atoms)[:, None] * 1.1 + draw.random((atoms, 3)) * 0.2,
        cell=np.diag([2.5, 4.0, 9.0]) if periodic else np.zeros((3, 3)),
        pbc=np.array([periodic, periodic, False]),
        energy=float(draw.normal(-4e5)),
        forces=draw.normal(size=(atoms, 3)),
        stress=np.full((3, 3), np.nan),
        free=draw.random(atoms) < 0.5,
    )
    return replace(made, **changes)


def test_a_batch_is_the_graphs_of_its_structures_one_after_the_other():
    own = [structure(3), structure(5, periodic=True, seed=1), structure(1, seed=2)]
    batch = collate(own, GRAPH, index=[7, 2, 9])
    assert len(batch) == 3
    assert batch.batch.tolist() == [0] * 3 + [1] * 5 + [2]
    assert batch.index.tolist() == [7, 2, 9]
    assert batch.energy.tolist() == [one.energy for one in own]  # not rounded to float32
    assert torch.equal(batch.free, torch.from_numpy(np.concatenate([one.free for one in own])))
    edges, shifts, first = [], [], 0
    for one in own:
        found = neighbor_list(
            torch.from_numpy(one.positions),
            3.0,
            cell=torch.from_numpy(one.cell),
            pbc=torch.from_numpy(one.pbc),
        )
        edges.append(found.edge_index + first)
        shifts.append(found.shifts)
        first += len(one)
    assert torch.equal(batch.edge_index, torch.cat(edges, 1))
    assert torch.equal(batch.shifts, torch.cat(shifts).float())
    assert batch.shifts.abs().max() > 0


def test_batches_are_cut_to_the_nearest_neighbors_and_move_as_a_whole():
    crowded = structure(6, positions=np.random.default_rng(3).random((6, 3)) * 1.5)
    batch = collate([crowded], Graph(cutoff=3.0, max_neighbors=2))
    assert torch.bincount(batch.edge_index[1]).tolist() == [2] * 6
    moved = batch.to("meta")
    assert moved.positions.device.type == moved.index.device.type == "meta"


def test_edges_that_are_known_need_no_search():
    own = [structure(3), structure(1, seed=2), structure(5, periodic=True, seed=1)]
    batch = collate(own, GRAPH)
    edges = split_edges(batch)
    again = collate(own[::-1], Graph(0.1), edges=edges[::-1])
    searched = collate(own[::-1], GRAPH)
    assert torch.equal(again.edge_index, searched.edge_index)
    assert torch.equal(again.shifts, searched.shifts)
    assert len(edges[1].shifts) == 0


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": np.zeros((3, 3))}, r"b.xyz: atoms 0 and 1 are 0 Å apart"),
        ({"positions": np.full((3, 3), np.nan)}, "b.xyz: the position of atom 0 is not finite"),
        ({"pbc": np.ones(3, bool)}, "b.xyz: the periodic lattice vectors span no volume"),
    ],
)
def test_a_broken_structure_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        collate([structure(where="a.xyz"), structure(where="b.xyz", **changes)], GRAPH)
