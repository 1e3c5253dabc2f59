"""EquiformerV2 as physics wants it: symmetries, separate structures, no neighbours, determinism."""

from __future__ import annotations

import pytest
import torch

from surform.atomistic.equiformer_v2 import EquiformerV2
from surform.data.atoms_neighbors import neighbor_list
from tests.atomistic.structures import (
    CELL,
    CRYSTAL,
    CRYSTAL_NUMBERS,
    ETHANOL,
    NUMBERS,
    measured,
    network,
    of,
    turn,
)

GATE = {"activation": "gate", "grid_mlp": False}
CONSERVATIVE = {"forces": "conservative", "envelope": 5}


def close(a, b, tolerance=1e-11):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [(GATE, 1e-13), ({"grid_resolution": 18}, 1e-5), (GATE | CONSERVATIVE, 1e-13)],
    ids=["gate", "grid", "conservative"],
)
def test_forces_turn_with_the_atoms(options, tolerance):
    net, r = network(**options), turn()
    before, after = measured(net, ETHANOL, NUMBERS), measured(net, ETHANOL @ r.t(), NUMBERS)
    size = float(before.forces.abs().max())
    assert size > 1e-3
    close(after.energy, before.energy, tolerance)
    close(after.forces, before.forces @ r.t(), tolerance * max(size, 1.0))
    if before.virial is not None:
        close(after.virial, r @ before.virial @ r.t(), tolerance)


def test_a_crystal_turns_with_its_cell_and_may_be_moved_and_cut_elsewhere():
    net, r = network(**GATE), turn(1)
    before = measured(net, CRYSTAL, CRYSTAL_NUMBERS, cell=CELL)
    after = measured(net, CRYSTAL @ r.t(), CRYSTAL_NUMBERS, cell=CELL @ r.t())
    close(after.energy, before.energy)
    close(after.forces, before.forces @ r.t())
    moved = (
        CRYSTAL
        + torch.tensor([10.0, -3.0, 0.7])
        + torch.tensor([[1.0], [-2], [0]]).double() @ CELL[:1]
    )
    found = measured(net, moved, CRYSTAL_NUMBERS, cell=CELL)
    close(found.energy, before.energy)
    close(found.forces, before.forces)


def test_the_order_of_atoms_and_edges_does_not_matter():
    net = network()
    order = torch.tensor([4, 2, 0, 8, 1, 7, 3, 6, 5])
    before, after = measured(net, ETHANOL, NUMBERS), measured(net, ETHANOL[order], NUMBERS[order])
    close(after.energy, before.energy)
    close(after.forces, before.forces[order])
    edges = neighbor_list(ETHANOL, net.cutoff).edge_index
    mixed = edges[:, torch.randperm(edges.shape[1], generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        close(net(ETHANOL, NUMBERS, mixed).forces, before.forces)
    close(net(ETHANOL, NUMBERS, mixed).forces.detach(), before.forces)


@pytest.mark.parametrize("options", [{}, CONSERVATIVE], ids=["direct", "conservative"])
def test_structures_far_apart_and_in_one_batch_are_themselves(options):
    net = network(**options)
    alone, crystal = (
        measured(net, ETHANOL, NUMBERS),
        measured(net, CRYSTAL, CRYSTAL_NUMBERS, cell=CELL),
    )
    pair = torch.cat((ETHANOL, ETHANOL + 100.0))
    both = measured(net, pair, torch.cat((NUMBERS, NUMBERS)))
    close(both.energy, 2 * alone.energy)
    close(both.forces, torch.cat((alone.forces, alone.forces)))
    cell = torch.stack((torch.zeros(3, 3).double(), CELL, torch.eye(3).double()))
    pbc = torch.tensor([[False] * 3, [True] * 3, [False] * 3])
    batch = torch.tensor([0] * 9 + [1] * 3 + [2])
    positions = torch.cat((ETHANOL, CRYSTAL, torch.zeros(1, 3).double()))
    numbers = torch.cat((NUMBERS, CRYSTAL_NUMBERS, torch.tensor([3])))
    mixed = measured(net, positions, numbers, cell=cell, pbc=pbc, batch=batch)
    close(mixed.energy[:2], torch.cat((alone.energy, crystal.energy)))
    close(mixed.forces[:12], torch.cat((alone.forces, crystal.forces)))
    assert not mixed.forces[12:].any()


@pytest.mark.parametrize("options", [{}, CONSERVATIVE, GATE, {"share_radial": True}])
def test_atoms_without_neighbours_have_an_energy_and_no_force(options):
    net = network(**options)
    one = measured(net, torch.zeros(1, 3).double(), torch.tensor([8]))
    assert one.energy.isfinite().all()
    assert float(one.energy) != 0
    assert not one.forces.any()
    with torch.no_grad():
        two = measured(net, torch.tensor([[0.0, 0, 0], [9.0, 0, 0]]).double(), torch.tensor([8, 8]))
    close(two.energy, 2 * one.energy)
    cell = 20 * torch.eye(3).double()
    close(measured(net, torch.ones(1, 3).double(), torch.tensor([8]), cell=cell).energy, one.energy)
    nothing = net(torch.zeros(0, 3).double(), torch.zeros(0).long(), torch.zeros(2, 0).long())
    assert nothing.forces.shape == (0, 3)


def test_one_atom_in_a_small_cell_feels_no_force():
    net = network(**GATE)
    cell = 3.0 * torch.eye(3).double()
    found = measured(net, torch.zeros(1, 3).double(), torch.tensor([13]), cell=cell)
    lonely = measured(net, torch.zeros(1, 3).double(), torch.tensor([13]))
    assert abs(float(found.energy - lonely.energy)) > 1e-5
    close(found.forces, torch.zeros(1, 3).double(), 1e-9)


def test_the_same_atoms_give_the_same_bits():
    net = network()
    with torch.no_grad():
        first, second = (measured(net, ETHANOL, NUMBERS) for _ in range(2))
    assert torch.equal(first.energy, second.energy)
    assert torch.equal(first.forces, second.forces)


def test_the_frames_of_edges_do_not_matter_on_the_published_grid():
    """With a gate not at all; on the fewest points by percents."""
    spread = {}
    edges = neighbor_list(ETHANOL, 5.0).edge_index
    n = torch.nn.functional.normalize(ETHANOL[edges[0]] - ETHANOL[edges[1]], dim=1)
    for name, options in (("published", {}), ("fewest", {"grid_resolution": None}), ("gate", GATE)):
        net = network(0.0, lmax=4, dim=8, **options)
        found = []
        for seed in range(3):
            u = torch.randn(len(n), 3, generator=torch.Generator().manual_seed(seed)).double()
            z = torch.nn.functional.normalize(torch.linalg.cross(n, u), dim=1)
            y = -torch.linalg.cross(n, z)
            frames = torch.stack((z, n, y), dim=1)
            with torch.no_grad():
                found.append(net(ETHANOL, NUMBERS, edges, edge_rot_mat=frames).forces)
        with torch.no_grad():
            found.append(net(ETHANOL, NUMBERS, edges).forces)
        spread[name] = float(torch.stack(found).std(0).norm() / found[0].norm())
    assert spread["gate"] < 1e-14
    assert spread["published"] < 1e-9
    assert spread["fewest"] > 1e-4


@pytest.mark.parametrize("recompute", [False, True])
def test_pieces_of_edges_give_the_numbers_of_all_at_once(recompute, monkeypatch):
    monkeypatch.setattr("surform.atomistic.edges._PIECE", 16)
    monkeypatch.setattr("surform.atomistic.sphere_activation._CACHED", 1000)
    net = network(recompute=recompute)
    whole = measured(network(), ETHANOL, NUMBERS)
    weights = list(net.parameters())
    with torch.no_grad():
        pieces = measured(net, ETHANOL, NUMBERS)
    close(pieces.energy, whole.energy)
    close(pieces.forces, whole.forces)
    if recompute:
        again = of(net, ETHANOL, NUMBERS)
        plain = network()
        found = of(plain, ETHANOL, NUMBERS)
        for net_, out in ((net, again), (plain, found)):
            net_.zero_grad()
            (out.energy.sum() + out.forces.square().sum()).backward()
        for ours, theirs in zip(weights, plain.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None)
            if ours.grad is not None:
                close(ours.grad, theirs.grad)


def test_nothing_is_kept_where_no_gradient_is_asked_for():
    net = network(**CONSERVATIVE)
    with torch.no_grad():
        found = of(net, ETHANOL, NUMBERS)
    assert not any(each.requires_grad for each in found[:3])
    with torch.no_grad():
        assert not of(network(), ETHANOL, NUMBERS).forces.requires_grad


def test_float32_networks_cast_to_float64_have_all_digits():
    torch.manual_seed(0)
    sizes = {"dim": 4, "depth": 1, "heads": 1, "elements": 20, "cutoff": 5.0}
    net = EquiformerV2(**sizes)
    fine = net.double().eval()
    edges = neighbor_list(ETHANOL, 5.0).edge_index
    with torch.no_grad():
        before = fine(ETHANOL, NUMBERS, edges)
    made = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        other = EquiformerV2(**sizes).eval()
    finally:
        torch.set_default_dtype(made)
    other.load_state_dict(fine.state_dict())
    with torch.no_grad():
        close(other(ETHANOL, NUMBERS, edges).forces, before.forces, 1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mmax": 4}, "mmax is 4, but must not be larger than lmax, 3"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"activation": "gate"}, "grid_mlp needs feed_forward_activation"),
        ({"norm": "batch_norm"}, "norm is 'batch_norm'"),
        ({"cutoff": 0.0}, "cutoff is 0.0, but must be positive"),
        ({"forces": "autograd"}, "forces is 'autograd'"),
        ({"max_neighbors": 0}, "max_neighbors is 0"),
        ({"attention_dropout": 1.0}, "attention_dropout is 1.0"),
        ({"grid_resolution": 0}, "grid_resolution is 0"),
    ],
)
@pytest.mark.fault
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


@pytest.mark.fault
def test_wrong_graphs_are_named():
    net = network()
    edges = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="atomic_numbers holds 79, but this network knows 0 to 19"):
        net(ETHANOL, torch.full((9,), 79), edges)
    with pytest.raises(ValueError, match=r"atomic_numbers has shape \(8,\), expected \(9,\)"):
        net(ETHANOL, NUMBERS[:8], edges)
    with pytest.raises(ValueError, match=r"shifts has shape \(2, 3\), expected \(3, 3\)"):
        net(ETHANOL, NUMBERS, edges, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"edge_index must be \(2, edges\)"):
        net(ETHANOL, NUMBERS, edges[:1])
    with pytest.raises(ValueError, match="positions must be floating-point"):
        net(ETHANOL.long(), NUMBERS, edges)
    with pytest.raises(TypeError, match="atomic_numbers must hold whole numbers"):
        net(ETHANOL, NUMBERS.double(), edges)


@pytest.mark.fault
def test_graphs_that_make_no_sense_are_named():
    net = network()
    edges = neighbor_list(ETHANOL, net.cutoff).edge_index
    together, lost = ETHANOL.clone(), ETHANOL.clone()
    together[1], lost[1, 0] = together[0], float("nan")
    with pytest.raises(ValueError, match=r"edge 0, from atom 1 to atom 0, has length 0"):
        net(together, NUMBERS, edges)
    with pytest.raises(ValueError, match=r"from atom 1 to atom 0, has a vector that is not finite"):
        net(lost, NUMBERS, edges)
    for atom in (9, -1):
        wrong = edges.clone()
        wrong[0, 3] = atom
        with pytest.raises(ValueError, match=f"edge_index holds {atom}, but there are 9 atoms"):
            net(ETHANOL, NUMBERS, wrong)
    with pytest.raises(ValueError, match="batch holds 2, but there are 2 structures"):
        net(ETHANOL, NUMBERS, edges, batch=torch.tensor([0] * 8 + [2]), structures=2)
    frames = torch.eye(3).double().expand(edges.shape[1], 3, 3)
    with pytest.raises(ValueError, match=r"second row of edge_rot_mat\[\d+\] is not its edge's"):
        net(ETHANOL, NUMBERS, edges, edge_rot_mat=frames)
    with pytest.raises(TypeError, match=r"positions are torch.float32, but this network is in"):
        net(ETHANOL.float(), NUMBERS, edges)
    with pytest.raises(TypeError, match=r"positions are torch.float64, but shifts torch.float32"):
        net(ETHANOL, NUMBERS, edges, torch.zeros(edges.shape[1], 3))


def test_the_exported_program_takes_any_number_of_atoms_and_edges():
    net = network(depth=1, lmax=2, stress="both")
    edges = neighbor_list(ETHANOL, net.cutoff)
    atoms, ends = torch.export.Dim("atoms", min=2), torch.export.Dim("edges", min=2)
    shapes = {
        "positions": {0: atoms}, "atomic_numbers": {0: atoms}, "edge_index": {1: ends},
        "shifts": {0: ends}, "structures": None,
    }  # fmt: skip
    given = (ETHANOL, NUMBERS, edges.edge_index, edges.shifts)
    with torch.no_grad():
        program = torch.export.export(net, given, {"structures": 1}, dynamic_shapes=shapes)
        crystal = neighbor_list(CRYSTAL, net.cutoff, cell=CELL)
        found = program.module()(
            CRYSTAL, CRYSTAL_NUMBERS, crystal.edge_index, crystal.shifts, structures=1
        )
        expected = measured(net, CRYSTAL, CRYSTAL_NUMBERS, cell=CELL)
    close(found[0], expected.energy, 1e-10)
    close(found[1], expected.forces, 1e-10)
    close(found[-1], expected.stress, 1e-10)


def test_networks_may_be_built_first_on_no_device_and_without_gradients():
    """What is derived once and kept does not stay there, nor forbids gradients."""
    from surform.atomistic import sphere_grid, wigner

    for cached in (sphere_grid._matrices, wigner.swap, wigner._swaps, wigner.generators):
        cached.cache_clear()
    with torch.device("meta"):
        network()
    with torch.inference_mode():
        network(lmax=2)
    for lmax in (2, 3):
        net = network(lmax=lmax)
        of(net, ETHANOL, NUMBERS).forces.sum().backward()
        assert net.norm.weight.grad.isfinite().all()
