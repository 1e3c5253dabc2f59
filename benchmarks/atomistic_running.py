"""What running a potential costs beside the network: neighbours, optimisers, batches.

The network of the recipe `atomistic/ethanol` with new weights, float32, one thread, CPU seconds;
whatever is compared takes turns.

    python -m benchmarks.atomistic_running
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.optimize import FIRE

from surform.atomistic import Calculator, relax
from surform.atomistic.equiformer_v2 import EquiformerV2
from surform.atomistic.evaluator import Evaluator
from surform.atomistic.potential import Potential
from surform.atomistic.system import System
from surform.data.atoms_limit import nearest
from surform.data.atoms_neighbors import neighbor_list

__all__ = ["main", "neighbor_share", "relaxations"]

STEPS = 5


def potential(forces: str = "direct", limit: int | None = None) -> Potential:
    """The small network of the recipe."""
    torch.manual_seed(0)
    net = EquiformerV2(
        dim=32, depth=2, lmax=3, mmax=2, heads=4, hidden=16, alphas=16, values=8, feed_forward=32,
        edge_channels=32, grid_resolution=14, elements=30, cutoff=5.0, max_neighbors=limit,
        forces=forces, envelope=5 if forces == "conservative" else None,  # type: ignore[arg-type]
    )  # fmt: skip
    model = Potential(net)
    model.energy.fit(torch.zeros(1), torch.ones(1))
    model.forces.fit(torch.zeros(1), torch.ones(1))
    return model.eval()


def seconds(*functions: Callable[[], object], repeats: int = 3) -> list[float]:
    """The least CPU time of each, in turns."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for place, function in enumerate(functions):
            start = time.process_time()
            function()
            best[place] = min(best[place], time.process_time() - start)
    return best


def neighbor_share(atoms: Atoms) -> tuple[float, float, float]:
    """Seconds of a neighbour list, of cutting one anew out of a list with a skin, of the rest."""
    evaluator = Evaluator(potential(limit=20))
    system = System.of([atoms])
    found = evaluator.neighbors(system)
    options = {"cell": system.cell, "pbc": system.pbc, "batch": system.batch}
    wide = neighbor_list(system.positions, 5.5, **options)
    source, target = wide.edge_index

    def cut() -> torch.Tensor:
        squared = (system.positions[source] - system.positions[target] + wide.shifts).square()
        squared = squared.sum(1)
        near = (squared <= 25).nonzero()[:, 0]
        return nearest(target[near], squared[near], len(atoms), 20, False)

    answer = seconds(lambda: evaluator.neighbors(system), cut, lambda: evaluator(system, found))
    return answer[0], answer[1], answer[2]


def relaxations(forces: str, count: int) -> tuple[float, float, float]:
    """Seconds per structure and step: all at once, one at a time, ASE's FIRE."""
    model, structures = potential(forces), []
    for number in range(count):
        structures.append(molecule("CH3CH2OH"))
        structures[-1].rattle(0.03, rng=np.random.default_rng(number))

    def with_ase() -> None:
        calculator = Calculator(model)
        for atoms in structures:
            own = atoms.copy()
            own.calc = calculator
            FIRE(own, logfile=None).run(fmax=1e-9, steps=STEPS)

    def at_once(batch_size: int) -> object:
        return relax(model, structures, fmax=1e-9, steps=STEPS, batch_size=batch_size)

    found = seconds(lambda: at_once(count), lambda: at_once(1), with_ase)
    each = count * (STEPS + 1)
    return found[0] / each, found[1] / each, found[2] / each


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("neighbours: a list, one cut out of a list with a skin of 0.5 Å, the network [ms]")
    crystals = [bulk("Cu", cubic=True).repeat(n) for n in (3, 5)]
    for atoms in (molecule("CH3CH2OH"), *crystals):
        if len(atoms) > 9:
            atoms.rattle(0.1, seed=0)
        numbers = neighbor_share(atoms)
        print(f"  {len(atoms):4d} atoms", *(f"{1000 * x:8.2f}" for x in numbers))
    print("32 ethanol molecules, per structure and step: at once, one at a time, ASE's FIRE [ms]")
    for forces in ("direct", "conservative"):
        print(f"  {forces:12s}", *(f"{1000 * x:8.2f}" for x in relaxations(forces, 32)))


if __name__ == "__main__":
    main()
