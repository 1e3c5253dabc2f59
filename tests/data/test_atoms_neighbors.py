"""Neighbours against ASE, with vesin and without; limits, batches, mixed periodicity, bad input."""

from __future__ import annotations

import time

import ase.neighborlist
import numpy as np
import pytest
import torch
from ase import Atoms

from surform.data.atoms_neighbors import neighbor_list

CELLS = {
    "cubic": 6.0 * np.eye(3),
    "skewed": np.array([[5.0, 0.0, 0.0], [2.5, 4.0, 0.0], [-1.0, 3.0, 6.0]]),
    "flat": np.array([[2.6, 0.0, 0.0], [1.3, 2.2, 0.0], [0.0, 0.0, 15.0]]),
    "large": 21.0 * np.eye(3),
}
PERIODS = [(True, True, True), (True, True, False), (False, True, False), (False, False, False)]


@pytest.fixture(params=["bins", "vesin"], autouse=True)
def searcher(request, monkeypatch):
    """Everything below holds for both."""
    if request.param == "vesin":
        pytest.importorskip("vesin")
    else:
        without_vesin(monkeypatch)
    return request.param


def without_vesin(monkeypatch):
    monkeypatch.setattr("surform.data.atoms_vesin.is_there", lambda positions: False)


def scattered(cell, count, seed=0, spread=1.0):
    """Atoms everywhere, also outside of the cell, no two of them close."""
    generator = np.random.default_rng(seed)
    found = [generator.uniform(-spread, spread, 3) @ cell]
    while len(found) < count:
        place = generator.uniform(-spread, spread, 3) @ cell
        atoms = Atoms(
            numbers=[1] * (len(found) + 1), positions=[*found, place], cell=cell, pbc=True
        )
        if atoms.get_distances(-1, range(len(found)), mic=True).min() > 0.3:
            found.append(place)
    return np.array(found)


def ours(positions, cutoff, **options):
    found = neighbor_list(torch.tensor(positions), cutoff, **options)
    return {
        (*edge, *offset): distance
        for edge, offset, distance in zip(
            found.edge_index.t().tolist(), found.offsets.tolist(), found.distances.tolist(),
            strict=True,
        )
    }  # fmt: skip


def theirs(positions, cutoff, cell, pbc):
    atoms = Atoms(numbers=[1] * len(positions), positions=positions, cell=cell, pbc=pbc)
    # of "first" i and "second" j + S: i receives from j
    i, j, d, s = ase.neighborlist.neighbor_list("ijdS", atoms, cutoff, self_interaction=False)
    return {
        (a, b, *offset): distance
        for a, b, offset, distance in zip(
            j.tolist(), i.tolist(), s.tolist(), d.tolist(), strict=True
        )
    }


@pytest.mark.parametrize("pbc", PERIODS, ids=str)
@pytest.mark.parametrize("name", list(CELLS))
def test_pairs_images_and_distances_are_those_of_ase(name, pbc):
    cell = CELLS[name]
    positions = scattered(cell, 4 if name != "large" else 25)
    expected = theirs(positions, 5.05, cell, pbc)
    found = ours(positions, 5.05, cell=torch.tensor(cell), pbc=torch.tensor(pbc))
    assert found.keys() == expected.keys()
    assert all(abs(found[key] - expected[key]) < 1e-12 for key in expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_results_are_the_same_bits_with_and_without_vesin(searcher, dtype, monkeypatch):
    """Ties at the limit and pairs at the very cutoff included."""
    if searcher == "bins":
        pytest.skip("compares the other one with this one")
    lattice = torch.cartesian_prod(*[torch.arange(3.0)] * 3).to(dtype) * 2.5
    cases = [(lattice, 7.5 * torch.eye(3), (True, True, True), 5.0)]
    for (name, cell), pbc in zip(CELLS.items(), PERIODS, strict=True):
        positions = torch.tensor(scattered(cell, 4 if name != "large" else 25, 7)).to(dtype)
        cases.append((positions, torch.tensor(cell), pbc, 5.05))
    for most in (None, 7, 12):
        for positions, cell, pbc, cutoff in cases:
            given = {"cell": cell, "pbc": torch.tensor(pbc), "max_neighbors": most}
            with monkeypatch.context() as patched:
                first = neighbor_list(positions, cutoff, **given)
                without_vesin(patched)
                second = neighbor_list(positions, cutoff, **given)
            for name in ("edge_index", "offsets", "shifts", "distances", "neighbors"):
                assert torch.equal(getattr(first, name), getattr(second, name))


def test_shifts_and_order():
    cell = torch.tensor(CELLS["skewed"])
    positions = torch.tensor(scattered(CELLS["skewed"], 4))
    found = neighbor_list(positions, 6.0, cell=cell)
    source, target = found.edge_index
    vectors = positions[source] - positions[target] + found.shifts
    torch.testing.assert_close(vectors.norm(dim=1), found.distances)
    torch.testing.assert_close(found.shifts, found.offsets.double() @ cell)
    keys = [(t, s, *o) for s, t, o in zip(*found.edge_index.tolist(), found.offsets.tolist(),
                                          strict=True)]  # fmt: skip
    assert keys == sorted(keys)
    assert found.neighbors.tolist() == [len(keys)]


def test_a_batch_of_all_kinds_is_its_structures():
    kinds = (("cubic", 0, 3), ("flat", 1, 2), ("large", 3, 6), ("skewed", 2, 1))
    pieces = [(CELLS[name], PERIODS[p], scattered(CELLS[name], n, n)) for name, p, n in kinds]
    positions = torch.tensor(np.concatenate([p for _, _, p in pieces]))
    counts = [len(p) for _, _, p in pieces]
    found = neighbor_list(
        positions,
        5.5,
        cell=torch.tensor(np.stack([c for c, _, _ in pieces])),
        pbc=torch.tensor([p for _, p, _ in pieces]),
        batch=torch.repeat_interleave(torch.tensor(counts)),
        max_neighbors=7,
    )
    start, edges = 0, 0
    for (cell, pbc, each), count in zip(pieces, counts, strict=True):
        alone = neighbor_list(torch.tensor(each), 5.5, cell=torch.tensor(cell),
                              pbc=torch.tensor(pbc), max_neighbors=7)  # fmt: skip
        own = slice(edges, edges + len(alone.distances))
        assert torch.equal(found.edge_index[:, own] - start, alone.edge_index)
        assert torch.equal(found.offsets[own], alone.offsets)
        start, edges = start + count, own.stop
    assert edges == len(found.distances)
    assert int(found.neighbors.sum()) == edges


def test_the_nearest_stay_and_ties_with_tolerance():
    cell = 3.0 * torch.eye(3, dtype=torch.float64)  # 6 at 3.0, 12 at 4.24, 8 at 5.2
    positions = torch.zeros(1, 3, dtype=torch.float64)
    for most, tolerant, expected in ((6, False, 6), (8, False, 8), (8, True, 18), (18, True, 26),
                                     (26, True, 26), (99, True, 26)):  # fmt: skip
        found = neighbor_list(positions, 5.5, cell=cell, max_neighbors=most, tolerant=tolerant)
        assert len(found.distances) == expected
    near = neighbor_list(positions, 5.5, cell=cell, max_neighbors=6)
    assert float(near.distances.max()) == 3.0


def test_nobody_and_far_apart():
    assert neighbor_list(torch.zeros(0, 3), 5.0).edge_index.shape == (2, 0)
    pair = torch.tensor([[0.0, 0, 0], [1e5, 0, 0]])
    assert neighbor_list(pair, 5.0).edge_index.shape == (2, 0)
    line = torch.arange(1000.0)[:, None] * torch.tensor([1.5, 0, 0])
    assert len(neighbor_list(line, 1.6).distances) == 2 * 999
    plane = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0), torch.zeros(1))
    assert len(neighbor_list(plane, 1.1).distances) == 80


def test_time_grows_with_the_number_of_atoms():
    """The work that is done, not the clock of a busy machine, and the clock with a wide margin."""

    def copper(n):
        grid = torch.cartesian_prod(*[torch.arange(float(n))] * 3)
        base = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        positions = (grid[:, None] + base).view(-1, 3).double() * 3.615
        return positions, 3.615 * n * torch.eye(3).double()

    seconds = {}
    for n in (7, 14):
        positions, cell = copper(n)
        start = time.process_time()
        found = neighbor_list(positions, 6.0, cell=cell)
        seconds[n] = time.process_time() - start
        assert len(found.distances) == 78 * len(positions)
    assert seconds[14] < 5.0
    assert seconds[14] < 8 * 3 * seconds[7] + 0.2


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": [[0.0, 0, 0], [0, float("nan"), 0]]}, "position of atom 1 is not finite"),
        ({"positions": [[0.0, 0, 0], [0, 0.001, 0]]}, "atoms 0 and 1 are 0.001 Å apart"),
        ({"positions": [[0.0, 0, 0], [0, 4.0, 0]]}, "atoms 0 and 1 are 0 Å apart"),
        ({"positions": [[0, 0, 0], [1, 0, 0]]}, "positions must be floating-point"),
        ({"cell": torch.zeros(3, 3)}, "lattice vectors of structure 0 span no volume"),
        ({"cell": torch.ones(3, 3)}, "lattice vectors of structure 0 span no volume"),
        ({"cell": 0.05 * torch.eye(3)}, "structure 0 repeat every 0.05 Å, nearer than 0.1 Å"),
        ({"cell": torch.eye(3) * float("inf")}, "cell holds numbers that are not finite"),
        ({"cell": None, "pbc": True}, "pbc is on, but there is no cell"),
        ({"cell": torch.eye(2)}, r"cell has shape \(2, 2\), expected \(3, 3\)"),
        ({"cell": torch.eye(3).expand(3, 3, 3)}, "pbc has shape|are 3 cells|nearer"),
        ({"pbc": torch.tensor([True, False])}, r"pbc has shape \(2,\), expected \(3,\)"),
        ({"batch": torch.tensor([0])}, r"batch has shape \(1,\), expected \(2,\)"),
        ({"batch": torch.tensor([1, 0])}, "batch must not decrease"),
        ({"cutoff": -1.0}, "cutoff is -1.0, but must be a positive number"),
        ({"max_neighbors": 0}, "max_neighbors is 0, but must be at least 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(change, message):
    given = {"positions": [[0.0, 0, 0], [1.0, 0, 0]], "cell": 4.0 * torch.eye(3), "cutoff": 3.0}
    given |= change
    positions = torch.tensor(given.pop("positions"))
    if "batch" in given:
        given["cell"] = given["cell"].expand(2, 3, 3)
    with pytest.raises(ValueError, match=message) as caught:
        neighbor_list(positions, given.pop("cutoff"), **given)
    assert "\n" not in str(caught.value)
