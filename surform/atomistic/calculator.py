"""ASE's calculator: optimisers, molecular dynamics, nudged elastic bands with a potential."""

from __future__ import annotations

import os
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from surform.atomistic.evaluator import Evaluator
from surform.atomistic.potential import Potential
from surform.atomistic.system import System

__all__ = ["Calculator"]


class Calculator(AseCalculator):
    """Energies [eV], forces [eV/Å] and stresses [eV/Å^3] for ASE (docs of ase.calculators).

        atoms.calc = Calculator("runs/ethanol/model")

    The same atoms give the same bits, and are computed once. Charges and magnetic moments are of no
    matter to the network, and a change of them computes nothing. The stress is the derivative of
    the energy with respect to strain over the volume, as ASE defines it (positive: the cell wants
    to shrink), in Voigt's order xx, yy, zz, yz, xz, xy; networks with direct forces have none.

    Args:
        model: a `Potential`, a saved folder, or a name that `surform.load_model` knows.
        device: such as "cuda"; None: where the model is.
        dtype: "float64" for phonons and tight relaxations; None: the model's, float32 as a rule.
    """

    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012, as ASE declares it

    def __init__(
        self,
        model: Potential | str | os.PathLike[str],
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> None:
        super().__init__()
        self.evaluator = Evaluator(model, device, dtype)
        extra = [] if self.evaluator.forces == "none" else ["forces"]
        if self.evaluator.has_stress:
            extra.append("stress")
        self.implemented_properties = ["energy", "free_energy", *extra]

    def _get_name(self) -> str:
        return "surform"

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """As ASE's, with the reason where there is no such property."""
        if name == "stress" and name not in self.implemented_properties:
            raise PropertyNotImplementedError(
                "stress needs a network whose forces are derivatives of its energy "
                "(forces: conservative), or a head for it (stress: both): this one has neither"
            )
        return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties; ValueError says what is wrong with the atoms."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        system = System.of([self.get_atoms() if atoms is None else atoms])
        found = self.evaluator(system)
        energy = float(found.energy)
        results: dict[str, Any] = {"energy": energy, "free_energy": energy}
        if found.forces is not None:
            results["forces"] = found.forces.numpy()
        stress = system.stress_of(found)
        if stress is not None and bool(stress.isfinite().all()):
            results["stress"] = full_3x3_to_voigt_6_stress(stress[0].numpy())
        self.results = results
