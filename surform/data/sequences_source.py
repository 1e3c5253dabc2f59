"""Sequences of tokens in memory: one behind the other, with their classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["SequenceSource", "joined_tokens"]


@dataclass
class SequenceSource:
    """Sequences, or pairs of them, by number.

    Args:
        name: names the data in errors.
        tokens: what they are: "listops", "bytes", "pairs" or "pixels".
        vocab_size: how many different tokens there are, padding (0) among them.
        values: all tokens one behind the other, uint16.
        starts: where each sequence begins, and where the last one ends; a pair has two.
        classes: names, in the order of their numbers.
        labels: (N,) int64; (0,) where unknown.
        parts: split -> numbers of its samples, where the data are divided already; else {}.
        provenance: how the data were made, where they say so.
    """

    name: str
    tokens: str
    vocab_size: int
    values: np.ndarray
    starts: np.ndarray
    classes: tuple[str, ...]
    labels: np.ndarray
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        empty = np.flatnonzero(np.diff(self.starts) == 0)
        if not len(self):
            raise ValueError(f"{self.name} holds no sequences")
        if len(empty):
            raise ValueError(
                f"sequence {int(empty[0]) // self.together} of {self.name} is empty: leave it out"
            )

    @property
    def together(self) -> int:
        """Sequences of a sample: 2 of pairs."""
        return 2 if self.tokens == "pairs" else 1

    def __len__(self) -> int:
        """How many samples there are."""
        return (len(self.starts) - 1) // self.together

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(np.diff(self.starts).max())

    def hardest(self) -> np.ndarray:
        """(N,) the number of each sample's class."""
        return self.labels

    def read(self, numbers: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
        """(n, m), or (n, 2, m) of pairs: the tokens of samples, cut after `length` of them; m is
        the length of the longest one, zeros are behind the end of others."""
        step = self.together
        rows = (np.asarray(numbers)[:, None] * step + np.arange(step)).ravel()
        counts = np.minimum(self.starts[rows + 1] - self.starts[rows], length)
        out = np.zeros((len(rows), int(counts.max(initial=0))), dtype=np.int64)
        for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
            start = self.starts[row]
            out[place, :count] = self.values[start : start + count]
        return out if step == 1 else out.reshape(-1, 2, out.shape[1])

    def nbytes(self) -> int:
        """What the tokens take in memory."""
        return self.values.nbytes

    def fingerprint(self) -> str:
        """sha256 of all that is learned from."""
        digest = hashlib.sha256(f"{self.tokens} {self.classes}".encode())
        for array in (self.starts, self.labels, self.values):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def joined_tokens(sequences: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(values, starts) of sequences, one behind the other."""
    found = [np.asarray(each, dtype=np.uint16) for each in sequences]
    starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return (np.concatenate(found) if found else np.zeros(0, dtype=np.uint16)), starts
