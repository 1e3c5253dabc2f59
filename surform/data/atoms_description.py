"""What a potential must know of the structures it was trained on: elements, references, units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surform.data.data_description import DataDescription
from surform.data.description_keys import check_keys

__all__ = ["AtomsDescription"]

_UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å^3"}


@dataclass(frozen=True)
class AtomsDescription(DataDescription):
    """Elements and labels of training structures; plain values only, in eV and Å.

    Args:
        elements: symbols of those that occur, by atomic number.
        labels: "energy", "forces", "stress": what the data give.
        references: the energy of one atom of each element [eV] that is taken off before training
            and added to predictions; empty: none is.
        statistics: energy_mean, energy_std [eV], of what is left of energies; forces_rms [eV/Å];
            atoms, their mean number.
        source: provenance: "path", "structures", "fingerprint" (sha256), ...
    """

    elements: tuple[str, ...]
    labels: tuple[str, ...]
    references: dict[str, float] = field(default_factory=dict)
    statistics: dict[str, float] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)

    def require_match(self, found: AtomsDescription, where: str) -> None:
        """ValueError where data have elements that the model has never seen; `where` names them."""
        strange = [symbol for symbol in found.elements if symbol not in self.elements]
        if strange:
            raise ValueError(
                f"{where} has {', '.join(strange)}, but the model was trained on "
                f"{', '.join(self.elements)} only"
            )

    def table(self) -> dict[str, str]:
        table = {
            "elements": ", ".join(self.elements),
            "labels": ", ".join(f"{name} [{_UNITS[name]}]" for name in self.labels),
        }
        if self.references:
            listed = ", ".join(f"{name} {value:.6g}" for name, value in self.references.items())
            table["energies of single atoms"] = f"{listed} eV"
        names = {
            "energy_mean": ("mean of what is left of energies", "eV"),
            "energy_std": ("deviation of it", "eV"),
            "forces_rms": ("forces, root mean square of a component", "eV/Å"),
            "atoms": ("atoms of a structure, in the mean", ""),
        }
        for key, (text, unit) in names.items():
            if key in self.statistics:
                table[text] = f"{self.statistics[key]:.4g} {unit}".strip()
        return table | self.source

    def roles(self) -> list[tuple[str, str, str]]:
        given = [("input", "positions", "Å"), ("input", "atomic numbers", "1")]
        return given + [("target", name, _UNITS[name]) for name in self.labels]

    def summary(self) -> str:
        return f"Gives {' and '.join(self.labels)} of structures of {', '.join(self.elements)}."

    def layout(self) -> str:
        if not self.references:
            return "Energies are those of whole structures."
        most = 12
        listed = [f"{name} {value:.6g}" for name, value in self.references.items()]
        more = f", ... ({len(listed)} elements)" if len(listed) > most else ""
        return (
            "Energies are those of whole structures; the model is trained on what is left of them "
            f"when those of single atoms are taken off: {', '.join(listed[:most])}{more} [eV]."
        )

    def limits(self) -> str:
        return (
            "Trusted only for elements, bonds, densities and temperatures like those it was "
            "trained on: energies and forces of others have no warning attached."
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AtomsDescription:
        """The inverse of `to_dict`; ValueError names unknown or missing keys."""
        check_keys(cls, values, {"elements", "labels"}, "a description of atoms")
        names = ("elements", "labels")
        return cls(**{**values, **{name: tuple(values[name]) for name in names}})
