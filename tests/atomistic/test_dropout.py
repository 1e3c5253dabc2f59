"""What is dropped in training: weights of edges, branches of structures, channels of atoms."""

from __future__ import annotations

import torch

from surform.data.atoms_neighbors import neighbor_list
from tests.atomistic.structures import ETHANOL, NUMBERS, network


def dropped(**options):
    """What a block in training makes of ones: 4000 atoms in pairs, 4 rows, 6 channels."""
    block = network(0.0, depth=1, **options).blocks[0].train()
    torch.manual_seed(0)
    ones = torch.ones(4000, 4, 6, dtype=torch.float64)
    return block._dropped(ones, torch.arange(4000) // 2, 2000)


def test_paths_are_dropped_for_whole_structures():
    out = dropped(drop_path=0.3)
    assert torch.equal(out[0::2], out[1::2])
    assert out.unique().tolist() == [0.0, 1 / 0.7]
    assert abs(float(out.mean()) - 1) < 0.03


def test_channels_are_dropped_for_all_orders_of_an_atom():
    out = dropped(dropout=0.2)
    assert all(torch.equal(out[:, 0], out[:, row]) for row in range(1, 4))
    assert not torch.equal(out[:, 0, 0], out[:, 0, 1])
    assert not torch.equal(out[0::2], out[1::2])
    assert abs(float((out == 0).double().mean()) - 0.2) < 0.01


def test_weights_of_edges_are_dropped_without_a_bias():
    net = network(0.05, depth=1, lmax=1, mmax=1, forces="none", attention_dropout=0.3)
    edges = neighbor_list(ETHANOL, net.cutoff).edge_index
    held = []
    net.blocks[0].attention.register_forward_hook(lambda *each: held.append(each[2].detach()))
    torch.manual_seed(0)
    with torch.no_grad():
        net(ETHANOL, NUMBERS, edges)
        net.train()
        for _ in range(100):
            net(ETHANOL, NUMBERS, edges)
    sample = torch.stack(held[1:])
    spread = float(sample.std(0).norm() / held[0].norm())
    assert 0.2 < spread < 0.8
    assert float((sample.mean(0) - held[0]).norm() / held[0].norm()) < 2 * spread / 100**0.5
