"""TensorFlow checkpoints (`<name>.index` beside `<name>.data-00000-of-00001`) without TensorFlow.

The index is a sorted table of strings as LevelDB writes it (blocks of keys that share beginnings, a
footer that says where the blocks are); its values are protocol buffers that say where in the data
files, raw and little-endian, each tensor lies. Nothing in them is run. Every place is checked
against the files' sizes, blocks of the index against their checksums; those of the numbers are
not looked at.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from surform.hub.official.protocol_buffer import fields, varint

__all__ = ["index_of", "read_bundle"]

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5  # bytes: two places and the magic number; kind and checksum of a block
_LARGEST = 64 * 2**20  # bytes of an index, and of all its keys together
_DTYPES = {
    1: torch.float32, 2: torch.float64, 3: torch.int32, 4: torch.uint8, 5: torch.int16,
    6: torch.int8, 9: torch.int64, 10: torch.bool, 14: torch.bfloat16, 19: torch.float16,
}  # fmt: skip
_STRING = 7
_POINTER = b"version https://git-lfs"
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class _Entry:
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def index_of(path: Path) -> Path | None:
    """The index of the bundle that a path stands for: itself, one of its data files, or the
    beginning of their names, by which TensorFlow goes; None where it is no bundle."""
    if path.suffix == ".index":
        return path
    index = path.with_name(f"{_DATA.sub('', path.name)}.index")
    return index if index.is_file() and (not path.exists() or _DATA.search(path.name)) else None


def read_bundle(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their keys, but texts and the slots of optimisers.

    Args:
        path: of the `.index` file; the data files lie beside it.

    Raises:
        FileNotFoundError: a data file is missing.
        ValueError: the index is damaged or of another kind, or leads beyond the data.
    """
    path = Path(path)
    _whole(path)
    try:
        table = dict(_table(path))
        shards = _shards(table.pop(b"", None), path)
        entries = {key.decode(): _entry(key, value, path) for key, value in table.items()}
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged: its table ends early or has unknown parts ({error})"
        ) from error
    data = [path.with_suffix(f".data-{i:05d}-of-{shards:05d}") for i in range(shards)]
    for file in data:
        if not file.is_file():
            raise FileNotFoundError(f"{path} belongs to {file.name}, which is not beside it")
        _whole(file)
    wanted = {
        key: entry
        for key, entry in entries.items()
        if entry.dtype != _STRING and ".OPTIMIZER_SLOT" not in key
    }
    dtypes = {key: _dtype(f"{path}: {key}", entry, data) for key, entry in wanted.items()}
    if sum(entry.size for entry in wanted.values()) > sum(file.stat().st_size for file in data):
        raise ValueError(f"{path} is damaged: its tensors have more bytes than its data files")
    return {key: _tensor(entry, dtypes[key], data[entry.shard]) for key, entry in wanted.items()}


def _whole(path: Path) -> None:
    """ValueError for what Git leaves in the place of a large file that it has not fetched."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{path} only points to a file of Git LFS: fetch it with git lfs pull")


def _table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """All keys and values."""
    size = path.stat().st_size
    if not _FOOTER <= size <= _LARGEST:
        raise ValueError(f"{path} is no index of a TensorFlow checkpoint: it has {size} bytes")
    raw = path.read_bytes()
    footer = raw[-_FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError(f"{path} is no index of a TensorFlow checkpoint, or is cut off")
    last, size = None, 0
    for _, where in _block(raw, *_places(footer), path):
        offset, at = varint(where, 0)
        length, _ = varint(where, at)
        for key, value in _block(raw, offset, length, path):
            # a few bytes can stand for a long key that shares all of the one before
            size += len(key)
            if size > _LARGEST or (last is not None and key <= last):
                raise ValueError(f"{path} is damaged: its keys are too long or not in order")
            last = key
            yield key, value


def _places(footer: bytes) -> tuple[int, int]:
    """Offset and length of the index block, which follow those of the meta index."""
    numbers, at = [], 0
    for _ in range(4):
        number, at = varint(footer, at)
        numbers.append(number)
    return numbers[2], numbers[3]


def _block(raw: bytes, offset: int, length: int, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Keys, each given as what differs from the one before, and values."""
    end = offset + length
    if length < 4 or end + _TRAILER > len(raw):
        raise ValueError(f"{path} is damaged: a block lies beyond its end")
    block, kind = raw[offset:end], raw[end]
    if kind != 0:
        raise ValueError(f"{path} is compressed, which TensorFlow does not do: it is not read")
    if _masked(_crc32c(raw[offset : end + 1])) != struct.unpack_from("<I", raw, end + 1)[0]:
        raise ValueError(f"{path} is damaged: a block does not have its checksum")
    restarts = struct.unpack_from("<I", block, length - 4)[0]
    stop = length - 4 * (restarts + 1)
    if stop < 0:
        raise ValueError(f"{path} is damaged: a block is shorter than it says")
    at, key = 0, b""
    while at < stop:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        count, at = varint(block, at)
        if shared > len(key) or at + fresh + count > stop:
            raise ValueError(f"{path} is damaged: an entry reaches out of its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + count]
        at += fresh + count


def _shards(header: bytes | None, path: Path) -> int:
    if header is None:
        raise ValueError(f"{path} has no header: it is no index of a TensorFlow checkpoint")
    values = dict(fields(header))
    if values.get(2, 0) != 0:
        raise ValueError(f"{path} was written on a big-endian machine: it is not read")
    count = values.get(1, 0)
    if not isinstance(count, int) or not 1 <= count <= 9999:
        raise ValueError(f"{path} is damaged: it has {count!r} data files")
    return count


def _entry(key: bytes, value: bytes, path: Path) -> _Entry:
    found: dict[int, int] = {}
    shape: list[int] = []
    for number, content in fields(value):
        if number == 2 and isinstance(content, bytes):
            for part, dim in fields(content):
                if part == 2 and isinstance(dim, bytes):
                    size = dict(fields(dim)).get(1, 0)
                    shape.append(size if isinstance(size, int) else -1)
        elif number == 7:
            raise ValueError(f"{path} has {key.decode()} in slices: such variables are not read")
        elif isinstance(content, int):
            found[number] = content
    return _Entry(found.get(1, 0), tuple(shape), found.get(3, 0), found.get(4, 0), found.get(5, 0))


def _dtype(what: str, entry: _Entry, data: list[Path]) -> torch.dtype:
    """That of a tensor which lies whole in its file; ValueError for others."""
    dtype = _DTYPES.get(entry.dtype)
    if dtype is None:
        raise ValueError(f"{what} has TensorFlow's type {entry.dtype}, which is not read")
    if entry.shard >= len(data):
        raise ValueError(f"{what} is said to be in data file {entry.shard} of {len(data)}")
    file = data[entry.shard]
    if entry.offset + entry.size > file.stat().st_size:
        raise ValueError(f"{what} lies beyond the end of {file.name}, which is cut off")
    possible = min(entry.shape, default=0) >= 0 and math.prod(n or 1 for n in entry.shape) < 2**60
    if not possible or math.prod(entry.shape) * dtype.itemsize != entry.size:
        raise ValueError(f"{what} has {entry.size} bytes, which do not make {entry.shape} {dtype}")
    return dtype


def _tensor(entry: _Entry, dtype: torch.dtype, file: Path) -> Tensor:
    if not entry.size:
        return torch.empty(entry.shape, dtype=dtype)
    raw = torch.from_numpy(np.fromfile(file, np.uint8, entry.size, offset=entry.offset))
    # truths are bytes, of which torch takes 0 and 1 alone
    values = raw != 0 if dtype == torch.bool else raw.view(dtype)
    return values.reshape(entry.shape)


def _crc32c(raw: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in raw:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    """As LevelDB stores it."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC = tuple(map(_remainder, range(256)))
