"""Jets of one or many files: divided, prepared block by block, the blocks used last kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from surform.data.faults import parsing
from surform.data.jets_file import JetFile

__all__ = ["BLOCK", "JetSource"]

BLOCK = 1024  # jets that are read together
_LARGEST = float(np.finfo(np.float32).max)
_KEPT = 512 * 2**20  # bytes of prepared blocks


@dataclass
class JetSource:
    """Jets by their number, over all files.

    Args:
        name: names the data in errors.
        files: of one layout.
        most: particles that are kept of a jet, those of the largest pT.
        parts: numbers of the jets of splits that are divided already.
        labelled: whether the classes of the jets are read.
    """

    name: str
    files: Sequence[JetFile]
    most: int
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    labelled: bool = True

    def __post_init__(self) -> None:
        first = self.files[0]
        for file in self.files:
            if (file.features, file.classes) != (first.features, first.classes):
                raise ValueError(f"{file.path} and {first.path} differ in layout")
        self.features, self.classes = first.features, first.classes
        self._starts = np.cumsum([0, *(file.rows for file in self.files)])
        if not len(self):
            raise ValueError(f"{self.name} holds no jets")
        blocks = [-(-file.rows // BLOCK) for file in self.files]
        self._first_blocks = np.cumsum([0, *blocks])
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self.labels = np.zeros(0, dtype=np.int64)
        if self.labelled:
            self.labels = np.concatenate([_labels(file) for file in self.files])
        found = [file.log_densities() for file in self.files] if self.labelled else [None]
        known = all(each is not None for each in found)
        self.log_densities = np.concatenate(found) if known else None  # type: ignore[arg-type]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def blocks(self, numbers: np.ndarray) -> np.ndarray:
        """Which block each jet is in."""
        file = self._file_of(numbers)
        return self._first_blocks[file] + (numbers - self._starts[file]) // BLOCK

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """(n, most, f) float32: particles sorted by pT, zeros behind the last.

        Raises:
            ValueError: a jet without particles, numbers that are none, or a negative pT.
        """
        out = np.empty((len(numbers), self.most, len(self.features)), dtype=np.float32)
        blocks, file = self.blocks(numbers), self._file_of(numbers)
        inside = (numbers - self._starts[file]) % BLOCK
        for block in np.unique(blocks):
            own = blocks == block
            out[own] = self._block(int(block))[inside[own]]
        return out

    @property
    def held(self) -> bool:
        """Whether all blocks can be kept at once."""
        return len(self) * self._jet_bytes() <= _KEPT

    def nbytes(self) -> int:
        """What the kept blocks take at most."""
        return min(len(self) * self._jet_bytes(), _KEPT)

    def fingerprint(self) -> str:
        """Of names, sizes, labels and the first, middle and last jet."""
        digest = hashlib.sha256(f"{len(self)} {self.features} {self.classes}".encode())
        digest.update(self.labels.tobytes())
        digest.update(self.read(np.array([0, len(self) // 2, len(self) - 1])).tobytes())
        return digest.hexdigest()

    def _jet_bytes(self) -> int:
        return 4 * self.most * len(self.features)

    def _file_of(self, numbers: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._starts, numbers, side="right") - 1

    def _block(self, block: int) -> np.ndarray:
        if block not in self._cache:
            self._cache[block] = self._read_block(block)
            while len(self._cache) * BLOCK * self._jet_bytes() > max(_KEPT, self._least()):
                self._cache.popitem(last=False)
        self._cache.move_to_end(block)
        return self._cache[block]

    def _least(self) -> int:
        return BLOCK * self._jet_bytes()

    def _read_block(self, block: int) -> np.ndarray:
        number = int(np.searchsorted(self._first_blocks, block, side="right")) - 1
        file = self.files[number]
        start = (block - int(self._first_blocks[number])) * BLOCK
        with parsing(file.path):
            values, pt = file.read(start, min(start + BLOCK, file.rows))
        _require_jets(values, pt, start, file)
        order = np.argsort(-pt, axis=1, kind="stable")[:, : self.most]
        there = np.take_along_axis(pt, order, 1) > 0
        values = np.take_along_axis(values, order[..., None], 1) * there[..., None]
        out = np.zeros((len(values), self.most, len(self.features)), dtype=np.float32)
        out[:, : values.shape[1]] = values
        return out


def _labels(file: JetFile) -> np.ndarray:
    with parsing(file.path):
        return file.labels()


def _require_jets(values: np.ndarray, pt: np.ndarray, start: int, file: JetFile) -> None:
    every = np.concatenate([values, pt[..., None]], -1)
    wrong = ~(np.abs(every) <= _LARGEST)
    if wrong.any():
        jet, particle, feature = np.argwhere(wrong)[0]
        name, value = (*file.features, "pT")[feature], every[jet, particle, feature]
        due = f"of at most {_LARGEST:.3g} " if np.isfinite(value) else ""
        raise ValueError(
            f"jet {start + jet} of {file.path} has {value} for the {name} of particle {particle}: "
            f"numbers {due}are due"
        )
    for wrong, what in (
        ((pt < 0).any(1), "has a particle of negative pT"),
        (~(pt > 0).any(1), "has no particles: all of it is padding"),
    ):
        if wrong.any():
            raise ValueError(f"jet {start + int(np.argmax(wrong))} of {file.path} {what}")
