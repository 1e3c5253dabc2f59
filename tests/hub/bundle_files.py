"""TensorFlow's checkpoints, written as their layout is documented, for the tests of the reader.

LevelDB's table format: blocks of entries (shared bytes, fresh bytes, length of the value, fresh
bytes, value), then restarts, their number, a byte for the compression and a masked CRC-32C; an
index block of the same kind leads to the others; a footer leads to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["block", "crc32c", "entry", "number", "table", "write_bundle"]

TYPES = {torch.float32: 1, torch.float64: 2, torch.int32: 3, torch.int64: 9, torch.bfloat16: 14}
Pairs = Iterable[tuple[bytes, bytes]]


def write_bundle(prefix: Path, tensors: Mapping[str, Tensor], shards: int = 1) -> Path:
    """Write `tensors`, and a text as TensorFlow does; returns the path of the index."""
    data = [bytearray() for _ in range(shards)]
    pairs = {b"": field(1, shards) + field(3, field(1, 1))}
    for i, (key, tensor) in enumerate(sorted(tensors.items())):
        raw = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        shard = i % shards
        pairs[key.encode()] = entry(
            TYPES[tensor.dtype], tuple(tensor.shape), shard, len(data[shard]), len(raw)
        )
        data[shard] += raw
    pairs[b"_CHECKPOINTABLE_OBJECT_GRAPH"] = entry(7, (), 0, len(data[0]), 5)
    data[0] += b"\x04text"
    for i, each in enumerate(data):
        Path(f"{prefix}.data-{i:05d}-of-{shards:05d}").write_bytes(bytes(each))
    index = Path(f"{prefix}.index")
    index.write_bytes(table(sorted(pairs.items())))
    return index


def entry(kind: int, shape: tuple[int, ...], shard: int, offset: int, size: int) -> bytes:
    """A BundleEntryProto."""
    dims = b"".join(field(2, field(1, n)) for n in shape)
    parts = field(1, kind) + field(2, dims) + field(3, shard) + field(4, offset) + field(5, size)
    return parts + number(6 << 3 | 5) + struct.pack("<I", 12345)


def table(pairs: list[tuple[bytes, bytes]], size: int = 7) -> bytes:
    """A table of blocks of `size` entries."""
    out, places = b"", []
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        places.append((part[-1][0], number(len(out)) + number(len(block(part)) - 5)))
        out += block(part)
    ends = []
    for content in (block([]), block(places)):
        ends += [number(len(out)), number(len(content) - 5)]
        out += content
    return out + b"".join(ends).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def block(pairs: Pairs, kind: int = 0) -> bytes:
    """Entries, the only restart at the first, and the trailer."""
    out, last = b"", b""
    for key, value in pairs:
        shared = next(
            (i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b),
            min(len(last), len(key)),
        )
        out += number(shared) + number(len(key) - shared) + number(len(value))
        out, last = out + key[shared:] + value, key
    out += struct.pack("<II", 0, 1) + bytes([kind])
    crc = crc32c(out)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return out + struct.pack("<I", masked)


def field(name: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer; zeros are left out, as in proto3."""
    if isinstance(value, bytes):
        return number(name << 3 | 2) + number(len(value)) + value
    return number(name << 3) + number(value) if value else b""


def number(value: int) -> bytes:
    """Seven bits in each byte, the lowest first."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def crc32c(raw: bytes) -> int:
    """Castagnoli's, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in raw:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
