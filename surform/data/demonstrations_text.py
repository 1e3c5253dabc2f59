"""Instructions as vectors without a language model: hashed pieces of their words."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import numpy as np
from jaxtyping import Float32

__all__ = ["embed_text"]

_LENGTHS = (3, 4, 5)  # of the pieces [characters]
_WORD = 2.0  # how much more whole words count than pieces of them


@lru_cache(maxsize=4096)
def embed_text(text: str, dim: int = 64) -> Float32[np.ndarray, " d"]:
    """A vector of length 1 for a sentence: the same on every machine, in every version.

    Each word, and each piece of it of 3 to 5 characters, adds or subtracts 1 in one place, both
    chosen by a hash. Sentences that share words lie close together; what words mean is not known.
    Case and punctuation do not count, the order of words does not either.

    Args:
        dim: length of the vector.

    Raises:
        ValueError: a sentence without a letter or digit.
    """
    words = re.findall(r"\w+", text.lower().replace("_", " "))
    if not words:
        raise ValueError(f"an instruction is {text!r}, but needs a letter or digit")
    found = np.zeros(dim, np.float64)
    for word in words:
        marked = f"<{word}>"
        _add(found, marked, _WORD)
        for length in _LENGTHS:
            for begin in range(len(marked) - length + 1):
                _add(found, marked[begin : begin + length], 1.0)
    size = np.linalg.norm(found)
    vector = (found / size if size else found).astype(np.float32)
    vector.flags.writeable = False
    return vector


def _add(vector: np.ndarray, piece: str, weight: float) -> None:
    number = int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=8).digest(), "little")
    vector[(number >> 1) % len(vector)] += weight if number & 1 else -weight
