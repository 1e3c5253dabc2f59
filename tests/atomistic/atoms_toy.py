"""Clusters of a few atoms under a pair potential: labelled data that a small network can learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from surform.atomistic.equiformer_v2 import EquiformerV2
from surform.data.atoms_batch import AtomsBatch, Graph, collate
from surform.data.atoms_description import AtomsDescription
from surform.data.atoms_structure import Structure
from surform.data.normalizers import Normalizer
from surform.data.order import BatchOrder
from tests.atomistic.structures import SMALL

# energies of lone atoms [eV]
REFERENCES = {1: -13.6, 6: -1030.25, 8: -2041.5}
GRAPH = Graph(cutoff=4.0)


def small_net(**options: Any) -> EquiformerV2:
    """A network for the clusters, in float32."""
    torch.manual_seed(0)
    given = SMALL | {
        "lmax": 2,
        "mmax": 1,
        "cutoff": 4.0,
        "average_atoms": 3.0,
        "average_degree": 2.0,
    }
    return EquiformerV2(**(given | options))


def cluster(seed: int, **changes: Any) -> Structure:
    """2 to 5 atoms about 1 Å apart, with Morse potentials between all of them."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(2, 6))
    steps = draw.normal(size=(count, 3))
    steps *= draw.uniform(0.9, 1.3, (count, 1)) / np.linalg.norm(steps, axis=1, keepdims=True)
    steps[:, 0] = np.abs(steps[:, 0]) + 0.4  # no two atoms in one place
    positions = np.cumsum(steps, 0)
    numbers = draw.choice([1, 6, 8], count)
    energy, forces = _morse(positions)
    made = Structure(
        numbers=numbers,
        positions=positions,
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
        energy=energy + sum(REFERENCES[n] for n in numbers.tolist()),
        forces=forces,
        stress=np.full((3, 3), np.nan),
        free=np.ones(count, bool),
        where=f"cluster {seed}",
    )
    return replace(made, **changes)


class ToyAtoms(LightningDataModule):
    """Training on the first clusters, validation and test on the last `validation` ones.

    Args:
        change: applied to each structure, such as to hide its labels.
    """

    def __init__(
        self,
        clusters: int = 24,
        validation: int = 10,
        batch_size: int = 4,
        change: Callable[[Structure], Structure] = lambda structure: structure,
    ) -> None:
        super().__init__()
        self.count, self.validation, self.batch_size = clusters, validation, batch_size
        self.structures = [change(cluster(n)) for n in range(clusters + validation)]
        self.graph = GRAPH
        self.start = (0, 0)

    def description(self) -> AtomsDescription:
        return describe()

    def normalizers(self) -> tuple[Normalizer, Normalizer]:
        return Normalizer(torch.tensor(-1.5), torch.tensor(0.8)), Normalizer(
            torch.tensor(0.0), torch.tensor(2.0)
        )

    def resume_at(self, epoch: int, batch: int) -> None:
        self.start = (epoch, batch)

    def batch(self, rows: Sequence[int]) -> AtomsBatch:
        return collate([self.structures[row] for row in rows], self.graph, rows)

    def train_dataloader(self) -> Any:
        ranks = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        order = BatchOrder(self.count, self.batch_size, rank=rank, ranks=ranks)
        order.start(*self.start)
        return DataLoader(_Clusters(self, 0, self.count), sampler=order, batch_size=None)

    def val_dataloader(self) -> Any:
        ranks = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        order = BatchOrder(self.validation, self.batch_size, training=False, rank=rank, ranks=ranks)
        clusters = _Clusters(self, self.count, self.validation)
        return DataLoader(clusters, sampler=order, batch_size=None)

    test_dataloader = val_dataloader


class _Clusters:
    def __init__(self, data: ToyAtoms, first: int, count: int) -> None:
        self.data, self.first, self.count = data, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, items: list[int]) -> AtomsBatch:
        return self.data.batch([self.first + item for item in items])


def _morse(positions: np.ndarray) -> tuple[float, np.ndarray]:
    vectors = positions[:, None] - positions[None]
    distance = np.linalg.norm(vectors, axis=-1) + np.eye(len(positions))
    decay = np.exp(-1.5 * (distance - 1.1)) * (1 - np.eye(len(positions)))
    energy = 0.5 * (decay**2 - 2 * decay).sum()
    slope = -3.0 * (decay**2 - decay)
    forces = -(slope[..., None] * vectors / distance[..., None]).sum(1)
    return float(energy), forces


def describe(references: dict[int, float] | None = None) -> AtomsDescription:
    """Of clusters with these references."""
    found = REFERENCES if references is None else references
    names = {1: "H", 6: "C", 8: "O", 14: "Si"}
    return AtomsDescription(
        elements=tuple(names[n] for n in found),
        labels=("energy", "forces"),
        references={names[n]: e for n, e in found.items()},
        source={"fingerprint": "clusters"},
    )
