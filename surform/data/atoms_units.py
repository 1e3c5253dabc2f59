"""Units of atomistic data, brought to eV and Å."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from surform.data.atoms_structure import Structure

__all__ = ["ENERGIES", "FORCES", "Units", "convert"]

# CODATA 2018, [eV] and [Å]
ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": 27.211386245988,
    "kcal/mol": 0.0433641043,
    "kJ/mol": 0.0103642697,
}
_LENGTHS = {"Å": 1.0, "bohr": 0.529177210903, "nm": 10.0}
_PRESSURES = {"GPa": 0.0062415091, "kbar": 0.00062415091}  # [eV/Å^3]
FORCES = {
    f"{energy}/{length}": ENERGIES[energy] / _LENGTHS[length]
    for energy in ENERGIES
    for length in _LENGTHS
}
_STRESSES = _PRESSURES | {
    f"{energy}/{length}^3": ENERGIES[energy] / _LENGTHS[length] ** 3
    for energy in ENERGIES
    for length in _LENGTHS
}


@dataclass(frozen=True)
class Units:
    """What numbers of a file are multiplied with.

    energy, length, forces, stress: factors to eV, Å, eV/Å, eV/Å^3. stated: what the user has said,
    rather than what is assumed.
    """

    energy: float = 1.0
    length: float = 1.0
    forces: float = 1.0
    stress: float = 1.0
    stated: frozenset[str] = frozenset()

    @classmethod
    def of(cls, given: Mapping[str, str] | None) -> Units:
        """From names such as {"energy": "kcal/mol", "length": "bohr"}.

        Forces and stresses are in energy over length and its cube, unless they have units of their
        own; "-eV/Å" stands for gradients, which have the opposite sign.

        Raises:
            ValueError: an unknown quantity or unit, with those there are.
        """
        given = dict(given or {})
        known = {
            "energy": ENERGIES, "length": _LENGTHS, "forces": FORCES, "stress": _STRESSES,
        }  # fmt: skip
        for name in given:
            if name not in known:
                raise ValueError(f"units has {name!r}, but can have {', '.join(known)}")
        found = {name: _factor(name, given[name], known[name]) for name in given}
        energy, length = found.get("energy", 1.0), found.get("length", 1.0)
        found = {"forces": energy / length, "stress": energy / length**3} | found
        return cls(**found, stated=frozenset(given))


def convert(structure: Structure, units: Units) -> Structure:
    """The structure in eV and Å."""
    if units == Units(stated=units.stated):
        return structure
    return replace(
        structure,
        positions=structure.positions * units.length,
        cell=structure.cell * units.length,
        energy=structure.energy * units.energy,
        forces=structure.forces * units.forces,
        stress=structure.stress * units.stress,
    )


def _factor(name: str, unit: str, known: Mapping[str, float]) -> float:
    plain = str(unit).strip()
    gradient = name in ("forces", "stress") and plain.startswith("-")
    plain = _spelled(plain.removeprefix("-"))
    for one, factor in known.items():
        if plain == _spelled(one):
            return -factor if gradient else factor
    raise ValueError(f"units.{name} is {unit!r}, but can be {', '.join(known)}")


def _spelled(unit: str) -> str:
    text = unit.lower().replace("angstrom", "å").replace("**", "^")
    parts = text.split("/")
    return "/".join("hartree" if part == "ha" else part for part in parts)
