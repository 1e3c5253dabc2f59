"""Short trainings of small potentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from surform.atomistic.atoms_task import AtomsTask
from surform.atomistic.energy_forces import AtomsPrediction
from surform.data.atoms_batch import Graph, collate
from tests.atomistic.atoms_toy import ToyAtoms, cluster, small_net
from tests.training.toy import trainer

NAN = float("nan")


def task(net: Any = None, **options: Any) -> AtomsTask:
    given = {"optimizer": lambda p: AdamW(p, lr=5e-3), "ema_decay": 0.0} | options
    return AtomsTask(net or small_net(depth=1), **given)


def fit(place: Path, module: AtomsTask, source: Any = None, **options: Any) -> Any:
    run = trainer(place, **({"max_epochs": 1} | options))
    run.fit(module, source or ToyAtoms())
    return run


def some(known: Any = None) -> tuple[AtomsPrediction, Any]:
    """Predictions of random numbers for three clusters, and their batch."""
    structures = [cluster(n) for n in range(3)]
    batch = collate(structures, Graph(4.0))
    draw = torch.Generator().manual_seed(0)
    energies, forces = torch.randn(2, 3, generator=draw), torch.randn(2, len(batch.numbers), 3,
                                                                      generator=draw)  # fmt: skip
    stress = torch.randn(2, 3, 3, 3, generator=draw)
    stress = stress + stress.transpose(2, 3)
    made = AtomsPrediction(energies[0], energies[1], None, None, None, (), forces[0], forces[1],
                           stress[0], stress[1])  # fmt: skip
    return made, batch
