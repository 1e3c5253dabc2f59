"""Losses of energies, forces and stresses: `loss(prediction, batch) -> scalar`.

What the data do not know (NaN) is left out; so are the forces of atoms that are held fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.atomistic.symmetric_tensors import components
from surform.data.atoms_batch import AtomsBatch
from surform.data.loaders import process_group
from surform.layers.checks import one_of
from surform.training.prediction import Prediction

__all__ = ["AtomsPrediction", "EnergyForces", "Measured"]

EnergyTerm = Literal["l1", "per_atom", "huber"]
# what each entry measures, and whether it counts: of structures, or of atoms
Measured = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class AtomsPrediction(Prediction):
    """Energies beside their targets, (B,), with forces (N, 3) and stresses (B, 3, 3).

    In normalised units, in which forces are those of the data over their root mean square also
    where they are the gradient of the energy; stresses that are such a gradient are in eV/Å^3.
    NaN in a target: unknown.
    """

    forces: Tensor | None = None
    force_target: Tensor | None = None
    stress: Tensor | None = None
    stress_target: Tensor | None = None


class EnergyForces(nn.Module):
    """A weighted sum of the means over structures and over free atoms.

    Forces count by the length of their error (l2mae), as EquiformerV2 is trained (Liao et al.,
    2023, arXiv 2306.12059); stresses by the absolute errors of their isotropic part and of the
    five others, as on OMat24 (Barroso-Luque et al., 2024, arXiv 2410.12771).

    Several processes weigh structures and atoms as one process with all of them would.

    Args:
        energy, forces, stress: weights; stress is for networks that give one. 0 leaves a part out.
        energy_term: of an error e of n atoms: "l1" |e|, "per_atom" |e| / n, or "huber".
        delta: up to which "huber" is quadratic, in normalised units.
    """

    def __init__(
        self,
        energy: float = 1.0,
        forces: float = 10.0,
        stress: float = 0.0,
        energy_term: EnergyTerm = "l1",
        delta: float = 0.1,
    ) -> None:
        super().__init__()
        self.weights = {"energy": energy, "forces": forces, "stress": stress}
        for name, weight in self.weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"the weight of {name} is {weight}, but must be 0 or positive")
        if not any(self.weights.values()):
            raise ValueError(
                "the weights of energy, forces and stress are all 0: nothing is learnt"
            )
        one_of("energy_term", energy_term, ("l1", "per_atom", "huber"))
        if not delta > 0:
            raise ValueError(f"delta is {delta}, but must be positive")
        self.energy_term, self.delta = energy_term, delta

    def forward(self, prediction: AtomsPrediction, batch: AtomsBatch) -> Tensor:
        """The loss, in normalised units.

        Raises:
            ValueError: on the CPU: nothing in the batch can be learnt from.
        """
        parts = self.terms(prediction, batch)
        counted = [known for name, (_, known) in parts.items() if self.weights[name]]
        if prediction.output.device.type == "cpu" and not any(known.any() for known in counted):
            wanted = " or ".join(name for name, weight in self.weights.items() if weight)
            raise ValueError(
                f"none of the {len(batch)} structures of a batch has {wanted} to learn from: are "
                "they under other names in the data?"
            )
        means = {name: _mean(*part) for name, part in parts.items()}
        return torch.stack([self.weights[name] * mean for name, mean in means.items()]).sum()

    def terms(self, prediction: AtomsPrediction, batch: AtomsBatch) -> Mapping[str, Measured]:
        """Errors of structures or atoms and whether they are known, by the names of `weights`."""
        parts: dict[str, Measured] = {}
        error, known = _error(prediction.output, prediction.target)
        if self.energy_term == "huber":
            parts["energy"] = (
                F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta),
                known,
            )
        else:
            atoms = torch.bincount(batch.batch, minlength=len(batch)).clamp(min=1)
            scale = atoms if self.energy_term == "per_atom" else torch.ones_like(atoms)
            parts["energy"] = error.abs() / scale, known
        if prediction.forces is not None and prediction.force_target is not None:
            error, known = _error(prediction.forces, prediction.force_target)
            parts["forces"] = error.norm(dim=1), known.all(1) & batch.free
        wanted = self.weights["stress"] > 0  # there is no head for it that would want a gradient
        if wanted and prediction.stress is not None and prediction.stress_target is not None:
            error, known = _error(prediction.stress, prediction.stress_target)
            isotropic, rest = components(error)
            parts["stress"] = isotropic.abs() + rest.abs().mean(1), known.flatten(1).all(1)
        return parts

    def extra_repr(self) -> str:
        shown = ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())
        return f"{shown}, energy_term={self.energy_term}"


def _error(output: Tensor, target: Tensor) -> Measured:
    """Differences, 0 where the target is unknown, and where it is known."""
    known = target.isfinite()
    return torch.where(known, output - target.nan_to_num().to(output), 0.0), known


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """Over what is known in all processes together, which average their gradients."""
    count = known.sum().to(values)
    ranks = process_group()[1]
    if ranks > 1 and values.requires_grad:
        torch.distributed.all_reduce(count)
        count = count / ranks
    return torch.where(known, values, 0.0).sum() / count.clamp(min=1 / ranks)
