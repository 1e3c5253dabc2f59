"""Numbers of texts that are the same on every machine and in every process."""

from __future__ import annotations

from typing import Any

import numpy as np

from surform.data.extras import require_extra

__all__ = ["arrow_hashes", "buckets", "text_hashes"]

_BASIS, _PRIME = 0xCBF29CE484222325, np.uint64(0x100000001B3)
# the finaliser of MurmurHash3, without which the low bits of short texts are poorly mixed
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))


def byte_hashes(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """64-bit hashes (uint64) of texts that lie in one row of bytes: FNV-1a, then mixed.

    Fowler, Noll, Vo (draft-eastlake-fnv); the finaliser is that of MurmurHash3. All texts advance
    by one byte at a time, so that nothing loops over texts.

    Args:
        data: uint8.
        starts: where each text begins.
        lengths: bytes of each text.
    """
    found = np.full(len(starts), _BASIS, dtype=np.uint64)
    active = np.arange(len(starts))
    shortest = int(lengths.min(initial=0))
    for place in range(int(lengths.max(initial=0))):
        if place >= shortest:
            active = active[lengths[active] > place]
        found[active] = (found[active] ^ data[starts[active] + place]) * _PRIME
    for factor in _MIX:
        found = (found ^ (found >> np.uint64(33))) * factor
    return found ^ (found >> np.uint64(33))


def text_hashes(texts: list[str]) -> np.ndarray:
    """Hashes (uint64) of texts, by their bytes in UTF-8."""
    coded = [text.encode() for text in texts]
    lengths = np.fromiter(map(len, coded), dtype=np.int64, count=len(coded))
    data = np.frombuffer(b"".join(coded), dtype=np.uint8)
    return byte_hashes(data, np.cumsum(lengths) - lengths, lengths)


def arrow_hashes(texts: Any) -> np.ndarray:
    """Hashes (uint64) of an Arrow array of texts; that of a missing one is of no meaning."""
    arrow = require_extra("pyarrow", "tables", "reading Arrow tables")
    texts = texts.cast(arrow.large_binary())
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = np.frombuffer(b"" if data is None else data, dtype=np.uint8)
    return byte_hashes(held, bounds[:-1], np.diff(bounds))


def buckets(hashes: np.ndarray, count: int) -> np.ndarray:
    """Ids (int64) from 1 to `count`, by the hashes' remainder."""
    return (hashes % np.uint64(count)).astype(np.int64) + 1
