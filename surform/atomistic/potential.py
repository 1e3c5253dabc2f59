"""A network with the units of what it was trained on: structures of atoms in, eV and eV/Å out."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surform.atomistic.element_references import ElementReferences
from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.symmetric_tensors import rescaled
from surform.data.atoms_batch import AtomsBatch
from surform.data.atoms_description import AtomsDescription
from surform.data.atoms_neighbors import Neighbors, neighbor_list
from surform.data.elements import atomic_number
from surform.data.normalizers import Normalizer
from surform.hub.pretrained import Pretrained

__all__ = ["Potential"]


class Potential(Pretrained):
    """Energies, forces and virials or stresses in the units of the training data (as a rule eV, Å).

    The energy of a structure is what the network says, times the deviation and plus the mean of
    the training data, plus the `references` of its atoms' elements.

    Args:
        net: a registered potential, such as `equiformer_v2`.
        tolerant: neighbours as near as the first one beyond `max_neighbors` are kept, too.
    """

    kind: ClassVar[str] = "atoms"
    file_options: ClassVar[tuple[str, ...]] = ("batch_size", "keys", "units")
    usage: ClassVar[str] = "energy, forces, *_ = model.evaluate(positions, atomic_numbers)  # Å"

    def __init__(self, net: nn.Module, tolerant: bool = False) -> None:
        super().__init__(net)
        self.tolerant = tolerant
        self.energy, self.forces = Normalizer(), Normalizer()
        self.references = ElementReferences(net.elements)  # type: ignore[arg-type]
        has_stress = getattr(net, "stress_head", None) is not None
        self.stress_isotropic = Normalizer() if has_stress else None
        self.stress_anisotropic = Normalizer() if has_stress else None

    def settings(self) -> dict[str, Any]:
        return {"tolerant": self.tolerant}

    @classmethod
    def read_description(cls, values: dict[str, Any]) -> AtomsDescription:
        return AtomsDescription.from_dict(values)

    def fit_to(self, description: AtomsDescription, energy: Normalizer, forces: Normalizer) -> None:
        """Take over the description of the training data, its statistics and its references."""
        found = {atomic_number(name): value for name, value in description.references.items()}
        self.references.fit(found)
        self.description, self.energy, self.forces = description, energy, forces
        self.fit_stress(description.statistics)
        self.require_statistics()
        self.check_statistics()

    def fit_stress(self, statistics: Mapping[str, float]) -> None:
        """Take the statistics of stresses, where the network has a head for them; else nothing.

        Args:
            statistics: stress_isotropic_mean, stress_isotropic_std, stress_anisotropic_std
                [eV/Å^3]; 0 and 1 where they are not given.
        """
        for name in ("stress_isotropic", "stress_anisotropic"):
            normalizer = getattr(self, name)
            if normalizer is not None:
                mean, std = (statistics.get(f"{name}_{n}", d) for n, d in (("mean", 0), ("std", 1)))
                normalizer.fit(torch.tensor(float(mean)), torch.tensor(float(std)))

    def normalized_stress(self, stress: Tensor) -> Tensor:
        """(B, 3, 3), as a head for stresses gives it."""
        trace, rest = self.stress_isotropic, self.stress_anisotropic
        assert trace is not None
        assert rest is not None
        return rescaled(
            stress, (1 / trace.std, -trace.mean / trace.std), (1 / rest.std, -rest.mean / rest.std)
        )

    def check_statistics(self) -> None:
        """ValueError when the statistics are not single numbers, or would bend forces."""
        for name, module in self.normalizers().items():
            if module.mean.numel() != 1:
                raise ValueError(f"the statistics of {name} must be one number each")
        if float(self.forces.mean.abs()) > 0:
            raise ValueError(
                f"the mean of the forces is {float(self.forces.mean)}, but must be 0: any other "
                "would pick a direction"
            )

    def neighbors(
        self,
        positions: Float[Tensor, "n 3"],
        *,
        cell: Tensor | None = None,
        pbc: Tensor | bool | None = None,
        batch: Tensor | None = None,
    ) -> Neighbors:
        """The edges that the network wants of these atoms; see `neighbor_list`."""
        net: Any = self.net
        with torch.autocast(positions.device.type, enabled=False):
            return neighbor_list(
                positions,
                net.cutoff,
                cell=cell,
                pbc=pbc,
                batch=batch,
                max_neighbors=net.max_neighbors,
                tolerant=self.tolerant,
            )

    def evaluate(
        self,
        positions: Float[Tensor, "n 3"],
        atomic_numbers: Int[Tensor, " n"],
        *,
        cell: Tensor | None = None,
        pbc: Tensor | bool | None = None,
        batch: Tensor | None = None,
        structures: int | None = None,
    ) -> Energies:
        """Neighbours, then energies and forces, of one structure or several.

        Args:
            positions: [Å]. cell, pbc, batch: as for `neighbor_list`.
            structures: their number, where the last ones may have no atom.
        """
        found = self.neighbors(positions, cell=cell, pbc=pbc, batch=batch)
        dtype = self.energy.mean.dtype
        return self(
            positions.to(dtype),
            atomic_numbers,
            found.edge_index,
            found.shifts.to(dtype),
            batch=batch,
            structures=structures,
        )

    def forward(
        self,
        positions: Float[Tensor, "n 3"],
        atomic_numbers: Int[Tensor, " n"],
        edge_index: Int[Tensor, "2 e"],
        shifts: Float[Tensor, "e 3"] | None = None,
        *,
        batch: Int[Tensor, " n"] | None = None,
        structures: int | None = None,
        edge_rot_mat: Float[Tensor, "e 3 3"] | None = None,
    ) -> Energies:
        """As the network's `forward`, in physical units; energies in float64 with references."""
        found = self.net(
            positions,
            atomic_numbers,
            edge_index,
            shifts,
            batch=batch,
            structures=structures,
            edge_rot_mat=edge_rot_mat,
        )
        energy = self.energy.denormalize(found.energy)
        if self.references.known:
            whole = torch.zeros_like(atomic_numbers) if batch is None else batch
            energy = self.references(atomic_numbers, whole, len(energy)) + energy
        forces = found.forces
        if found.virial is not None:  # derivatives of the energy, not of targets of their own
            assert forces is not None
            return Energies(energy, forces * self.energy.std, found.virial * self.energy.std)
        if forces is not None:
            forces = self.forces.denormalize(forces)
        return Energies(energy, forces, stress=self.physical_stress(found.stress))

    def physical_stress(self, normalized: Tensor | None) -> Tensor | None:
        """Trace and the rest have statistics of their own."""
        if normalized is None:
            return None
        trace, rest = self.stress_isotropic, self.stress_anisotropic
        assert trace is not None
        assert rest is not None
        return rescaled(normalized, (trace.std, trace.mean), (rest.std, rest.mean))

    def of_batch(self, batch: AtomsBatch) -> Energies:
        """Energies, forces and virials of what a loader of atoms yields."""
        dtype = self.energy.mean.dtype
        return self(
            batch.positions.to(dtype),
            batch.numbers,
            batch.edge_index,
            batch.shifts.to(dtype),
            batch=batch.batch,
            structures=len(batch),
        )

    def predict_file(self, source: str, out: str | PathLike[str], **options: Any) -> Path:
        """Energies and forces of a file's structures; see `surform.atomistic.predicting`."""
        from surform.atomistic.predicting import predict_file

        return predict_file(self, source, out, **options)

    def example_inputs(self) -> dict[str, Tensor]:
        """A water molecule and a lone argon atom (the last element of networks with fewer)."""
        dtype = self.energy.mean.dtype
        positions = torch.tensor(
            [[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0], [0.0, 0.0, 50.0]], dtype=dtype
        )
        found = neighbor_list(positions, 3.0)
        last = len(self.references.energies) - 1
        return {
            "positions": positions,
            "atomic_numbers": torch.tensor([8, 1, 1, 18]).clamp(max=last),
            "edge_index": found.edge_index,
        }

    def example_batch(self, count: int) -> dict[str, Any]:
        """So many molecules of water."""
        one = self.example_inputs()
        edges = one["edge_index"][:, (one["edge_index"] < 3).all(0)]
        shift = 3 * torch.arange(count)
        return {
            "positions": one["positions"][:3].repeat(count, 1),
            "atomic_numbers": one["atomic_numbers"][:3].repeat(count),
            "edge_index": (edges[:, None] + shift[:, None]).flatten(1),
            "batch": torch.arange(count).repeat_interleave(3),
            "structures": count,
        }
