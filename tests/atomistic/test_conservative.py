"""Forces and virials as exact derivatives of the energy; edges that end smoothly."""

from __future__ import annotations

import pytest
import torch

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
)

CONSERVATIVE = {"forces": "conservative", "envelope": 5}
STEP = 1e-5


def energy_of(net, positions, numbers, **options):
    with torch.no_grad():
        return float(of(net, positions, numbers, **options).energy)


def slope(function):
    """Central differences of order four."""
    a, b = (function(k * STEP) - function(-k * STEP) for k in (1, 2))
    return (8 * a - b) / (12 * STEP)


def test_forces_are_the_gradient_of_the_energy_also_along_the_poles():
    """Two bonds lie exactly along the polar axis of all harmonics, one up, one down."""
    net = network(**CONSERVATIVE)
    positions = torch.cat((ETHANOL, ETHANOL[:1] + torch.tensor([[0.0, 1.4, 0.0]]).double()))
    numbers = torch.cat((NUMBERS, torch.tensor([1])))
    forces = of(net, positions, numbers).forces.detach()
    assert float(forces.abs().max()) > 1e-3
    for atom, axis in ((0, 0), (9, 2), (9, 1)):
        step = torch.zeros_like(positions)
        step[atom, axis] = 1.0
        found = slope(lambda t, step=step: energy_of(net, positions + t * step, numbers))
        assert abs(found + float(forces[atom, axis])) < 1e-9


def test_the_virial_is_the_derivative_with_respect_to_strain():
    net = network(**CONSERVATIVE, activation="gate", grid_mlp=False)
    virial = of(net, CRYSTAL, CRYSTAL_NUMBERS, cell=CELL).virial[0].detach()
    torch.testing.assert_close(virial, virial.t())
    for i, j in ((0, 0), (1, 2)):
        strain = torch.zeros(3, 3).double()
        strain[i, j] += 0.5
        strain[j, i] += 0.5

        def strained(t, strain=strain):
            f = torch.eye(3).double() + t * strain
            return energy_of(net, CRYSTAL @ f, CRYSTAL_NUMBERS, cell=CELL @ f)

        assert abs(slope(strained) - float(virial[i, j])) < 1e-8


def test_forces_can_be_trained_on():
    """The gradient of a loss of forces, against differences of that loss."""
    net = network(**CONSERVATIVE, depth=1).train()
    weight = net.blocks[0].attention.convolution1.zero.weight
    target = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()

    def loss():
        return (of(net, ETHANOL, NUMBERS).forces - target).square().sum()

    loss().backward()
    direction = weight.grad / weight.grad.norm()
    start = weight.detach().clone()

    def moved(t):
        with torch.no_grad():
            weight.copy_(start + t * direction)
        return float(loss().detach())

    assert abs(slope(moved) - float(weight.grad.norm())) < 1e-7 * float(weight.grad.norm()) + 1e-9


def test_second_derivatives_of_the_energy_are_exact():
    """For phonons, and for losses of forces that are differentiated by positions."""
    net = network(**CONSERVATIVE, activation="gate", grid_mlp=False)
    positions = ETHANOL.clone().requires_grad_()
    forces = of(net, positions, NUMBERS).forces
    pairs = ((0, 0), (2, 1)), ((2, 1), (0, 0))
    there, back = (
        float(torch.autograd.grad(forces[a], positions, retain_graph=True)[0][b]) for a, b in pairs
    )
    assert abs(there) > 1e-4
    assert abs(there - back) < 1e-13
    step = torch.zeros_like(ETHANOL)
    step[2, 1] = 1.0

    def force(t):
        with torch.no_grad():
            return float(of(net, ETHANOL + t * step, NUMBERS).forces[0, 0])

    assert abs(slope(force) - there) < 1e-8


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({"activation": "gate", "grid_mlp": False}, 1e-15), ({"grid_resolution": 18}, 1e-9)],
    ids=["gate", "grid"],
)
def test_energy_and_forces_do_not_depend_on_the_frames(options, tolerance):
    net = network(**CONSERVATIVE, **options)
    edges = neighbor_list(ETHANOL, net.cutoff).edge_index
    n = torch.nn.functional.normalize(ETHANOL[edges[0]] - ETHANOL[edges[1]], dim=1)
    aside = torch.randn(n.shape, generator=torch.Generator().manual_seed(0)).double()
    z = torch.nn.functional.normalize(torch.linalg.cross(n, aside), dim=1)
    frames = torch.stack((z, n, -torch.linalg.cross(n, z)), dim=1)
    with torch.no_grad():
        ours, others = (net(ETHANOL, NUMBERS, edges, edge_rot_mat=each) for each in (None, frames))
    assert float((ours.energy - others.energy).abs()) < tolerance
    assert float((ours.forces - others.forces).abs().max()) < tolerance


def test_forces_are_there_without_any_gradient_around():
    """Also under `torch.inference_mode`, whose tensors know none."""
    net = network(**CONSERVATIVE)
    expected = of(net, ETHANOL, NUMBERS)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = of(net, ETHANOL.clone(), NUMBERS.clone())
        torch.testing.assert_close(found.forces, expected.forces.detach(), rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(found.virial, expected.virial.detach(), rtol=1e-9, atol=1e-14)
        assert not found.forces.requires_grad


def test_nothing_jumps_at_the_cutoff_with_an_envelope():
    numbers = torch.tensor([8, 1, 6])

    def at(net, distance):
        positions = torch.tensor([[0.0, 0, 0], [distance, 0, 0], [0.0, 1.3, 0.2]]).double()
        return measured(net, positions, numbers)

    smooth, abrupt = network(**CONSERVATIVE), network(forces="conservative")
    gaps = [float((at(n, 4.9999).forces - at(n, 5.0001).forces).norm()) for n in (smooth, abrupt)]
    assert gaps[0] < 1e-6
    assert gaps[1] > 1e-4
    # a lone pair fades into two lone atoms
    pair = torch.tensor([[0.0, 0, 0], [4.995, 0, 0]]).double()
    lone = measured(smooth, pair * 2, numbers[:2])
    near = measured(smooth, pair, numbers[:2])
    assert float((near.energy - lone.energy).abs()) < 1e-7
    assert 0 < float(near.forces.abs().max()) < 1e-4


def test_no_net_force_and_no_torque():
    net = network(**CONSERVATIVE)
    forces = measured(net, ETHANOL, NUMBERS).forces
    torch.testing.assert_close(forces.sum(0), torch.zeros(3).double(), rtol=0, atol=1e-12)
    torque = torch.linalg.cross(ETHANOL, forces).sum(0)
    torch.testing.assert_close(torque, torch.zeros(3).double(), rtol=0, atol=1e-5)  # of the grid


def test_all_neighbours_are_seen_without_a_limit():
    net = network(**CONSERVATIVE)
    assert net.max_neighbors is None
    assert len(neighbor_list(CRYSTAL, 5.0, cell=CELL).distances) > 3 * 12


def test_recomputed_pieces_of_edges_give_the_same_forces_and_gradients(monkeypatch):
    monkeypatch.setattr("surform.atomistic.edges._PIECE", 16)
    sizes = {"depth": 1, "lmax": 2, **CONSERVATIVE}
    plain, saving = network(**sizes), network(**sizes, recompute=True)
    found = [of(net, ETHANOL, NUMBERS).forces for net in (plain, saving)]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-13)
    for forces in found:
        forces.square().sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-12)
    with torch.no_grad():
        again = of(saving, ETHANOL, NUMBERS).forces
    torch.testing.assert_close(again, found[0].detach(), rtol=0, atol=1e-13)


@pytest.mark.fault
def test_gradients_are_not_exported():
    net = network(**CONSERVATIVE, depth=1)
    edges = neighbor_list(ETHANOL, net.cutoff)
    with pytest.raises(ValueError, match="network with conservative forces cannot be exported"):
        torch.export.export(net, (ETHANOL, NUMBERS, edges.edge_index, edges.shifts))


def test_few_gaussians_make_smooth_energies():
    """New networks: how fast the force between two atoms changes with their distance."""

    def roughness(basis: int) -> float:
        net = network(**CONSERVATIVE, activation="gate", grid_mlp=False, basis=basis)
        pair, numbers = torch.zeros(2, 3).double(), torch.tensor([8, 1])
        forces = []
        for distance in torch.linspace(1.0, 2.0, 101).double():
            pair[1, 0] = distance
            forces.append(float(of(net, pair.clone(), numbers).forces[1, 0].detach()))
        forces = torch.tensor(forces)
        return float(forces.diff().abs().max() / forces.abs().mean())

    assert roughness(16) < 0.2 * roughness(600)
