"""A potential as a model of torch-sim, which relaxes and moves batches of structures on GPUs."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch_sim.models.interface import (  # pyright: ignore[reportMissingImports]
    ModelInterface,
)

from surform.atomistic.evaluator import Evaluator
from surform.atomistic.potential import Potential
from surform.atomistic.system import System

__all__ = ["TorchSimModel"]


class TorchSimModel(ModelInterface):  # type: ignore[misc]
    """What torch-sim (0.3 and later) asks a model: energies, forces, and stresses if there are any.

        torch_sim.optimize(structures, TorchSimModel("runs/oxides/model"), ...)

    Args:
        model: a `Potential`, a saved folder, or a name that `surform.load_model` knows.
        device, dtype: None: the model's.
    """

    def __init__(
        self,
        model: Potential | str | os.PathLike[str],
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> None:
        super().__init__()
        self.evaluator = Evaluator(model, device, dtype)
        like = self.evaluator.model.energy.mean
        self._device, self._dtype = like.device, like.dtype
        self._compute_forces = self.evaluator.forces != "none"
        self._compute_stress = self.evaluator.has_stress
        bounded = getattr(self.evaluator.model.net, "max_neighbors", None) is not None
        self._memory_scales_with = "n_atoms" if bounded else "n_atoms_x_density"

    def forward(self, state: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Energies (B,), forces (N, 3), stresses (B, 3, 3) of a SimState."""
        cell = state.row_vector_cell.detach().double().cpu()
        pbc = torch.as_tensor(state.pbc, dtype=torch.bool).cpu().expand(len(cell), 3)
        system = System(
            numbers=state.atomic_numbers.detach().long().cpu(),
            positions=state.positions.detach().double().cpu(),
            batch=state.system_idx.detach().long().cpu(),
            cell=cell,
            pbc=pbc,
        )
        answer = self.evaluator(system)
        found = {"energy": answer.energy, "forces": answer.forces}
        found["stress"] = system.stress_of(answer)
        return {
            name: value.to(self._device, self._dtype)
            for name, value in found.items()
            if value is not None
        }
