"""Structures of atoms in files of any format, read when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from surform.data.atoms_structure import LABELS, Structure, check_structure
from surform.data.atoms_units import Units, convert
from surform.data.faults import parsing

__all__ = ["AtomsReading", "AtomsSource", "JoinedAtoms"]


# what data.keys can name
_KEYS = (*LABELS, "virial", "numbers", "positions", "cell", "pbc", "free", "fixed", "ptr")


@dataclass(frozen=True)
class AtomsReading:
    """What is read of files, and in which units.

    Args:
        keys: what "energy", "forces", "stress" (and "numbers", "positions", ... of arrays) are
            called there, where it is not what their format calls them.
        units: of the numbers there.
        targets: labels that every structure must have.

    Raises:
        ValueError: targets that are no labels, or keys of something else.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    units: Units = field(default_factory=Units)
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.targets:
            if name not in LABELS:
                raise ValueError(f"targets has {name!r}, but can have {', '.join(LABELS)}")
        for name in self.keys:
            if name not in _KEYS:
                raise ValueError(f"keys has {name!r}, but can have {', '.join(_KEYS)}")


class AtomsSource(ABC):
    """Structures in one file, by their number."""

    def __init__(self, path: str, reading: AtomsReading) -> None:
        self.name, self.reading = path, reading

    @abstractmethod
    def __len__(self) -> int:
        """How many structures there are."""

    @abstractmethod
    def raw(self, number: int) -> Structure:
        """A structure with the numbers that the file has."""

    def read(self, number: int) -> Structure:
        """A structure in eV and Å; ValueError, in one sentence, where something is wrong."""
        with parsing(self.name):
            found = convert(self.raw(number), self.reading.units)
        check_structure(found, self.reading.targets, partial(self.offered, number))
        return found

    def offered(self, number: int) -> Sequence[str]:
        """Names of what the file holds beside what is read, where it can be something else."""
        return ()

    def sizes(self) -> np.ndarray | None:
        """The number of atoms of each structure, where that is known without reading them."""
        return None

    def series(self) -> list[range]:
        """Numbers of structures that follow one another in time, or may do."""
        return [range(len(self))]

    def provenance(self) -> dict[str, str]:
        """What the file says of how it was made."""
        return {}

    def place(self, number: int) -> str:
        """A structure, for messages."""
        return f"{self.name}, structure {number}"


class JoinedAtoms(AtomsSource):
    """Several files, one behind the other."""

    def __init__(self, sources: Sequence[AtomsSource]) -> None:
        first = sources[0]
        super().__init__(f"{first.name} and {len(sources) - 1} more", first.reading)
        self.sources = list(sources)
        self._starts = np.cumsum([0, *map(len, sources)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def raw(self, number: int) -> Structure:
        source, own = self._find(number)
        return source.raw(own)

    def offered(self, number: int) -> Sequence[str]:
        source, own = self._find(number)
        return source.offered(own)

    def sizes(self) -> np.ndarray | None:
        found = [source.sizes() for source in self.sources]
        known = [sizes for sizes in found if sizes is not None]
        return np.concatenate(known) if len(known) == len(found) else None

    def series(self) -> list[range]:
        return [
            range(own.start + int(start), own.stop + int(start))
            for source, start in zip(self.sources, self._starts, strict=False)
            for own in source.series()
        ]

    def provenance(self) -> dict[str, str]:
        return self.sources[0].provenance()

    def place(self, number: int) -> str:
        source, own = self._find(number)
        return source.place(own)

    def _find(self, number: int) -> tuple[AtomsSource, int]:
        which = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.sources[which], number - int(self._starts[which])
