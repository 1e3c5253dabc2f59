"""Where clips of sound come from, whatever holds them."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surform.data.clips_files import Reading
from surform.data.clips_rate import at_rate

__all__ = ["ArrayClips", "ClipSource", "FileClips", "refuse_whole_numbers"]
__all__ += ["several_numbers"]

_PIECE = 2**22  # samples of long clips that are held at a time


@dataclass
class ClipSource(ABC):
    """Clips with labels, read one by one.

    Args:
        name: for messages.
        classes: names, in the order of the labels' numbers.
        labels: (N,) int64 numbers of classes; (N, K), 1 for each that is heard; (0,) where unknown.
        rate: of the waveforms [Hz].
        lengths: (N,) samples of each.
        parts: split -> numbers of its clips, where the data are divided already; else {}.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    rate: int
    lengths: np.ndarray
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [name for name in self.classes if self.classes.count(name) > 1]
        if twice:
            raise ValueError(f"{self.name} names the class {twice[0]!r} twice")

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.lengths)

    @property
    def several(self) -> bool:
        """Whether a clip may have several classes, or none."""
        return self.labels.ndim == 2

    @abstractmethod
    def read(self, number: int, begin: int = 0, stop: int | None = None) -> np.ndarray:
        """The waveform from sample `begin` to `stop` (None: the end), (n,) float32."""

    @abstractmethod
    def title(self, number: int) -> str:
        """What a clip is called: its file below the folder, or its number."""

    def fingerprint(self) -> str:
        """sha256 of titles, lengths, labels, divisions and the samples of three clips."""
        digest = hashlib.sha256(",".join(self.classes).encode())
        for number in range(len(self)):
            digest.update(f"{self.title(number)} {self.lengths[number]}\n".encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        for split, numbers in self.parts.items():
            digest.update(f"{split} {len(numbers)}".encode())
        for number in sorted({0, len(self) // 2, len(self) - 1}):
            for begin in range(0, int(self.lengths[number]), _PIECE):
                piece = self.read(number, begin, begin + _PIECE)
                digest.update(np.ascontiguousarray(piece).tobytes())
        return digest.hexdigest()


@dataclass
class FileClips(ClipSource):
    """Sound files below a folder."""

    root: Path = Path()
    files: tuple[Path, ...] = ()
    reading: Reading = field(default_factory=lambda: Reading(16000))

    def read(self, number: int, begin: int = 0, stop: int | None = None) -> np.ndarray:
        return self.reading.waveform(self.files[number], begin, stop)

    def title(self, number: int) -> str:
        return Path(os.path.relpath(self.files[number], self.root)).as_posix()


@dataclass
class ArrayClips(ClipSource):
    """Waveforms in an array, (N, n), in memory or read row by row from a file.

    Args:
        stored: the rate at which they are stored [Hz]; 0: the wanted one.
    """

    waveforms: Any = None
    stored: int = 0

    def read(self, number: int, begin: int = 0, stop: int | None = None) -> np.ndarray:
        def row(first: int, last: int) -> np.ndarray:
            found = np.asarray(self.waveforms[number, first:last]).astype(np.float32)
            if not np.isfinite(found).all():
                raise ValueError(f"clip {number} of {self.name} holds NaN or infinity")
            return found

        rate, count = self.stored or self.rate, self.waveforms.shape[1]
        return at_rate(row, count, rate, self.rate, begin, stop)

    def title(self, number: int) -> str:
        return str(number)


def refuse_whole_numbers(dtype: np.dtype, where: str) -> None:
    """ValueError for arrays of whole numbers, whose largest value only their maker knows."""
    if dtype.kind != "f":
        raise ValueError(
            f"{where} holds whole numbers ({dtype}), but waveforms are -1 to 1: divide by the "
            "greatest, which is 32768 for 16 bits"
        )


def several_numbers(
    rows: list[list[str]], classes: tuple[str, ...] | None, where: str, several: bool | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of clips by name -> numbers, or rows of 0 and 1 where clips have several.

    Args:
        classes: names in the order of their numbers; None sorts those that occur.
        several: whether a clip may have several, or none; None: whether one has several.

    Raises:
        ValueError: a label that is no class, other than one where there must be one, or a single
            class.
    """
    known = classes or tuple(sorted({name for row in rows for name in row}))
    place = {name: number for number, name in enumerate(known)}
    for at, row in enumerate(rows):
        unknown = [name for name in row if name not in place]
        if unknown:
            raise ValueError(
                f"{where} has the label {unknown[0]!r} at clip {at}, which is none of its classes"
            )
    many = any(len(row) > 1 for row in rows) if several is None else several
    wrong = [at for at, row in enumerate(rows) if not many and len(row) != 1]
    if wrong:
        count = len(rows[wrong[0]])
        hint = ": give it one, or set data.several to true" if several is None else ""
        raise ValueError(
            f"clip {wrong[0]} of {where} has {count or 'no'} label{'s' if count else ''}, but one "
            f"is wanted{hint}"
        )
    if len(known) < 2 and not many:
        raise ValueError(
            f"{where} has no class but {', '.join(known)}: a classifier needs at least two"
        )
    if many:
        found = np.zeros((len(rows), len(known)), dtype=np.float32)
        for at, row in enumerate(rows):
            found[at, [place[name] for name in row]] = 1
        return found, known
    return np.array([place[row[0]] for row in rows], dtype=np.int64), known
