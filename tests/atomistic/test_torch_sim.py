"""torch-sim runs a potential; where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surform.atomistic import relax
from tests.atomistic.potentials import crystal, morse, potential

torch_sim = pytest.importorskip("torch_sim")


def model_of(potential):
    from surform.atomistic.torch_sim_model import TorchSimModel

    return TorchSimModel(potential)


def shaken(seed):
    atoms = crystal()
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_answers_are_those_of_each_structure():
    ours, structures = potential(), [shaken(0), crystal(), shaken(1)]
    model = model_of(ours)
    state = torch_sim.io.atoms_to_state(structures, torch.device("cpu"), torch.float64)
    found = model(state)
    for number, atoms in enumerate(structures):
        (alone,) = relax(ours, [atoms], steps=0)
        assert float(found["energy"][number]) == pytest.approx(alone.atoms.get_potential_energy())
        own = state.system_idx == number
        np.testing.assert_allclose(found["forces"][own], alone.atoms.get_forces(), atol=1e-11)
        stress = alone.atoms.get_stress(voigt=False)
        np.testing.assert_allclose(found["stress"][number], stress, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Optimize has reached max steps")
def test_torch_sim_moves_structures_downhill():
    model = model_of(morse(length=2.3, width=1.0, depth=0.5))
    structures = [shaken(0), shaken(1)]
    state = torch_sim.io.atoms_to_state(structures, torch.device("cpu"), torch.float64)
    before = model(state)["energy"]
    # named by an enumeration since 0.4
    named = getattr(torch_sim, "Optimizer", None)
    descent = torch_sim.optimizers.gradient_descent if named is None else named.gradient_descent
    final = torch_sim.optimize(system=structures, model=model, optimizer=descent, max_steps=20)
    assert (model(final)["energy"] < before - 1e-3).all()
