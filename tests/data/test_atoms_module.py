"""The data module of atoms: splits, references, statistics, batches and their order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from surform.data.atoms_description import AtomsDescription
from surform.data.atoms_module import AtomsData
from surform.data.atoms_order import SizeOrder
from surform.data.atoms_statistics import measure
from surform.data.atoms_structure import structure_of
from tests.data.atom_files import frames, write_hdf5

NEAR = {"cutoff": 3.0}


def data(root: Path, **options: Any) -> AtomsData:
    path = root / "water.h5"
    if not path.exists():
        write_hdf5(path)
    return AtomsData(str(path), **(NEAR | options))


def test_splits_are_random_by_their_seed_or_blocks(tmp_path: Path) -> None:
    split = {"train": 10, "validation": 5, "test": "rest"}
    random = data(tmp_path, split=split)
    again = data(tmp_path, split=split)
    numbers = {name: random.samples(name).numbers for name in split}
    assert [len(own) for own in numbers.values()] == [10, 5, 25]
    assert sorted(np.concatenate(list(numbers.values())).tolist()) == list(range(40))
    for name, own in numbers.items():
        assert np.array_equal(again.samples(name).numbers, own)
    other = data(tmp_path, split=split, split_seed=1)
    assert not np.array_equal(other.samples("train").numbers, numbers["train"])
    blocks = data(tmp_path, split={"train": 0.5, "test": 0.25}, split_by="blocks")
    assert blocks.samples("train").numbers.tolist() == list(range(20))
    assert blocks.samples("test").numbers.tolist() == list(range(30, 40))
    assert blocks.val_dataloader() == []


def test_blocks_divide_every_file_by_itself(tmp_path: Path) -> None:
    paths = [str(write_hdf5(tmp_path / f"{n}.h5")) for n in range(2)]
    two = AtomsData(paths, split={"train": 0.5, "test": "rest"}, split_by="blocks", **NEAR)
    assert two.samples("test").numbers.tolist() == [*range(20, 40), *range(60, 80)]


def test_files_of_each_split(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_hdf5(tmp_path / f"{name}.h5")
    made = AtomsData({"train": f"{tmp_path}/a.h5", "test": [f"{tmp_path}/b.h5"]}, **NEAR)
    assert len(made.samples("train")) == len(made.samples("test")) == 40
    assert made.description().source["structures"] == "40 train, 40 test"


def test_batches_hold_what_the_files_do(tmp_path: Path) -> None:
    made = data(tmp_path, split={"train": 0.5, "validation": "rest"}, batch_size=7)
    made.setup("fit")
    found, seen = frames(), []
    for batch in made.val_dataloader():
        numbers = made.samples("validation").numbers[batch.index.numpy()]
        seen += numbers.tolist()
        positions = batch.positions.reshape(-1, 3, 3).numpy()
        np.testing.assert_allclose(positions, found["positions"][numbers], atol=1e-6)
        assert torch.equal(batch.energy, torch.from_numpy(found["energy"][numbers]))
        assert batch.edge_index.shape[1] == 6 * len(batch)
    assert sorted(seen) == sorted(made.samples("validation").numbers.tolist())
    assert made.samples("validation").labels(torch.tensor([0]))["structure"] == [
        f"{tmp_path}/water.h5, structure {made.samples('validation').numbers[0]}"
    ]


def test_a_second_epoch_has_the_edges_of_the_first(tmp_path: Path) -> None:
    made, files = data(tmp_path), data(tmp_path, cache="files")
    loader = made.train_dataloader()
    first = {int(n): batch for batch in loader for n in batch.index[:1]}
    assert made.held_bytes() > 0 == files.held_bytes()
    for batch in loader:
        again = files.samples("train")[batch.index.tolist()]
        assert torch.equal(batch.edge_index, again.edge_index)
        assert torch.equal(batch.positions, again.positions)
    assert len(first) == len(loader)


def test_training_goes_on_where_it_was_and_workers_change_nothing(tmp_path: Path) -> None:
    def batches(**options: Any) -> list[list[int]]:
        made = data(tmp_path, batch_size=4, **options)
        made.resume_at(0, options.get("workers", 0))
        return [batch.index.tolist() for batch in made.train_dataloader()]

    whole = batches()
    assert batches(workers=1) == whole[1:]
    assert len(whole) == 8


def test_the_network_says_which_atoms_are_neighbors(tmp_path: Path) -> None:
    made = data(tmp_path, cutoff=None)
    net = SimpleNamespace(cutoff=1.2, max_neighbors=1, elements=90)
    surrogate = SimpleNamespace(net=net, tolerant=True)
    made.trainer = SimpleNamespace(lightning_module=SimpleNamespace(surrogate=surrogate))
    graph = made.graph()
    assert (graph.cutoff, graph.max_neighbors, graph.tolerant) == (1.2, 1, True)
    made.cutoff, made.max_neighbors = 1.2, 1
    assert made.graph() == graph
    made.max_neighbors = None
    with pytest.raises(
        ValueError, match=r"max_neighbors None is not what the network has, 1.2 and"
    ):
        made.graph()


def molecules(seed: int = 0) -> list[Any]:
    """Structures whose energy is a sum over atoms, and a little noise."""
    draw = np.random.default_rng(seed)
    made = []
    for number in range(50):
        numbers = draw.choice([1, 6, 8], draw.integers(2, 9))
        energy = {1: -13.0, 6: -1030.0, 8: -2040.0}
        made.append(
            structure_of(
                f"structure {number}",
                numbers,
                draw.random((len(numbers), 3)) * 5,
                energy=sum(energy[n] for n in numbers.tolist()) + draw.normal(0, 0.1),
                forces=draw.normal(0, 2, (len(numbers), 3)),
                free=draw.random(len(numbers)) < 0.9,
            )
        )
    return made


def test_references_by_least_squares_leave_the_rest() -> None:
    own = molecules()
    found = measure(own)
    assert found.references == pytest.approx({1: -13.0, 6: -1030.0, 8: -2040.0}, abs=0.1)
    assert found.energy_mean == 0
    assert 0.05 < found.energy_std < 0.15
    forces = np.concatenate([one.forces[one.free] for one in own])
    assert found.forces_rms == pytest.approx(np.sqrt((forces**2).mean()))
    assert found.labels == ("energy", "forces")
    # those of free atoms, given; and none
    given = measure(own, {"H": -13.6, "C": -1029.0, "O": -2041.0})
    assert given.references[1] == -13.6
    assert given.energy_std > 0.5
    energies = np.array([one.energy for one in own])
    none = measure(own, "none")
    assert none.references == {}
    assert (none.energy_mean, none.energy_std) == pytest.approx((energies.mean(), energies.std()))


def test_one_molecule_has_references_that_fit(tmp_path: Path) -> None:
    made = data(tmp_path)
    about = made.description()
    energies = frames()["energy"][made.samples("train").numbers]
    total = about.references["O"] + 2 * about.references["H"]
    assert total == pytest.approx(energies.mean(), abs=1e-9)
    assert about.statistics["energy_std"] == pytest.approx(energies.std(), rel=1e-6)
    energy, forces = made.normalizers()
    assert float(energy.std) == pytest.approx(energies.std(), rel=1e-6)
    assert float(forces.mean) == 0
    assert float(forces.std) == pytest.approx(about.statistics["forces_rms"])


def test_the_description_is_saved_and_read_again(tmp_path: Path) -> None:
    made = data(tmp_path)
    about = made.description()
    assert AtomsDescription.from_dict(about.to_dict()) == about
    assert about.elements == ("H", "O")
    assert about.table()["labels"] == "energy [eV], forces [eV/Å]"
    assert ("target", "forces", "eV/Å") in about.roles()
    made.check(about)
    assert data(tmp_path).description().source["fingerprint"] == about.source["fingerprint"]
    other = data(tmp_path, split_seed=3).description()
    assert other.source["fingerprint"] != about.source["fingerprint"]


def test_data_without_forces(tmp_path: Path) -> None:
    path = str(write_hdf5(tmp_path / "a.h5", forces=None))
    made = AtomsData(path, targets=["energy"], **NEAR)
    made.setup("fit")
    assert made.description().labels == ("energy",)
    assert made.samples("train")[[0]].forces.isnan().all()


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_batches_by_size_are_full_but_never_too_large(ranks: int, training: bool) -> None:
    sizes = np.random.default_rng(0).integers(1, 30, 200)
    options = {"training": training, "ranks": ranks, "seed": 1}
    orders = [SizeOrder(sizes, 64, rank=rank, **options) for rank in range(ranks)]
    assert len({len(order) for order in orders}) == 1
    assert orders[0].batch_size in (4, 5)
    for epoch in range(4):
        batches = [list(order.batches(epoch)) for order in orders]
        assert {len(own) for own in batches} == {len(orders[0])}
        loads = np.array([[sizes[one].sum() for one in own] for own in batches])
        assert loads.max() <= 64 or not training
        assert loads.min() > 0
        assert loads[:, : len(orders[0]) // 2].mean() > 45
        seen = [number for own in batches for one in own for number in one]
        if training:
            assert len(set(seen)) == len(seen) >= 185
        else:
            assert sorted(seen) == list(range(200))
        joint = loads.max(0) - loads.min(0)  # ranks wait little for each other
        assert np.median(joint) < 30


def test_a_batch_has_so_many_atoms_or_edges(tmp_path: Path) -> None:
    atoms = data(tmp_path, batch_atoms=10)
    assert {len(batch.numbers) for batch in atoms.train_dataloader()} <= {9, 6, 3}
    edges = data(tmp_path, batch_edges=13)
    found = [batch.edge_index.shape[1] for batch in edges.train_dataloader()]
    assert set(found) == {12}
    assert list(edges.train_dataloader()).__len__() == len(edges.train_dataloader()) == 16
