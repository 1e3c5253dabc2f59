"""TensorFlow checkpoints, read without TensorFlow, from files written as documented."""

from __future__ import annotations

import struct

import pytest
import torch

from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.official.tensor_bundle import read_bundle
from tests.hub.bundle_files import block, crc32c, entry, table, write_bundle

HEADER = (b"", b"\x08\x01")


def some():
    torch.manual_seed(0)
    names = [f"agent/layer_{i}/{part}" for i in range(12) for part in ("kernel", "bias")]
    found = {name: torch.randn(3, 200 + i) for i, name in enumerate(names)}
    found |= {"step": torch.tensor(7), "half": torch.randn(5).bfloat16(), "none": torch.zeros(0, 2)}
    return found | {"double": torch.randn(2, 1, 3).double()}


def test_checksums_are_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("shards", [1, 3])
def test_what_was_written_is_read(tmp_path, shards):
    tensors = some()
    slot = {"agent/layer_0/bias/.OPTIMIZER_SLOT/adam/m/.ATTRIBUTES/VARIABLE_VALUE": torch.ones(2)}
    index = write_bundle(tmp_path / "ckpt-100", tensors | slot, shards)
    found = read_bundle(index)
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    assert set(read_checkpoint(index)) == set(tensors)


@pytest.mark.parametrize("name", ["model.v2-100", "model.v2-100.data-00001-of-00002"])
def test_a_bundle_goes_by_its_beginning_and_its_data(tmp_path, name):
    write_bundle(tmp_path / "model.v2-100", {"w": torch.ones(4)}, 2)
    assert read_checkpoint(tmp_path / name)["w"].tolist() == [1, 1, 1, 1]


@pytest.mark.fault
@pytest.mark.parametrize("name", ["other", "other.data-00000-of-00001", "other.index"])
def test_no_bundle_of_that_name(tmp_path, name):
    write_bundle(tmp_path / "model", {"w": torch.ones(4)})
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at .*{name}"):
        read_checkpoint(tmp_path / name)


def spoilt(tmp_path, raw):
    path = tmp_path / "model.index"
    path.write_bytes(raw)
    (tmp_path / "model.data-00000-of-00001").write_bytes(bytes(16))
    return path


@pytest.mark.fault
def test_a_missing_or_short_data_file(tmp_path):
    index = write_bundle(tmp_path / "model", {"w": torch.ones(4)})
    data = tmp_path / "model.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:8])
    with pytest.raises(
        ValueError, match=r"w lies beyond the end of model\.data.*, which is cut off"
    ):
        read_bundle(index)
    data.unlink()
    with pytest.raises(FileNotFoundError, match="data-00000-of-00001, which is not beside it"):
        read_bundle(index)


@pytest.mark.fault
@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
def test_pointers_of_git_lfs(tmp_path, end):
    index = write_bundle(tmp_path / "model", {"w": torch.ones(4)})
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 42\n"
    (tmp_path / f"model.{end}").write_text(text)
    with pytest.raises(ValueError, match=f"model.{end} only points to .*git lfs pull"):
        read_bundle(index)


@pytest.mark.fault
def test_every_cut_and_every_flipped_byte_is_noticed(tmp_path):
    index = write_bundle(tmp_path / "model", {"w": torch.ones(4), "v": torch.zeros(2)})
    whole = index.read_bytes()
    for length in range(0, len(whole), 5):
        with pytest.raises(ValueError, match=r"model\.index"):
            read_bundle(spoilt(tmp_path, whole[:length]))
    for place in range(0, len(whole) - 60, 7):
        other = bytearray(whole)
        other[place] ^= 0x55
        try:
            found = read_bundle(spoilt(tmp_path, bytes(other)))
        except ValueError:
            continue
        assert set(found) == {"w", "v"}, place  # the empty block, which nobody reads


@pytest.mark.fault
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (entry(1, (4,), 0, 0, 12), r"has 12 bytes, which do not make \(4,\)"),
        (entry(1, (4,), 0, 1 << 40, 16), "lies beyond the end of"),
        (entry(1, (4,), 3, 0, 16), "data file 3 of 1"),
        (entry(99, (4,), 0, 0, 16), "TensorFlow's type 99"),
        (entry(1, (4,), 0, 0, 16) + b"\x3a\x00", "has w in slices"),
        (entry(1, (1 << 40, 0, 1 << 40), 0, 0, 0), "has 0 bytes, which do not make"),
        (entry(1, (1 << 69,), 0, 0, 16), "has 16 bytes, which do not make"),
        (b"\x08\x01\x12\x05\x12\x03\x0a\x01x\x28\x10", r"do not make \(-1,\)"),
        (b"\x0a\x7f", "ends early"),
        (b"\x0b", "unknown kind 3"),
    ],
)
def test_entries_that_cannot_be(tmp_path, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_bundle(spoilt(tmp_path, table([HEADER, (b"w", value)])))


def test_truths_of_any_byte(tmp_path):
    path = spoilt(tmp_path, table([HEADER, (b"w", entry(10, (3,), 0, 0, 3))]))
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"\x00\x01\x07")
    assert read_bundle(path)["w"].tolist() == [False, True, True]


@pytest.mark.fault
def test_one_piece_of_data_that_stands_for_many_tensors(tmp_path):
    many = [(f"w{i}".encode(), entry(1, (4,), 0, 0, 16)) for i in range(3)]
    with pytest.raises(ValueError, match="more bytes than its data files"):
        read_bundle(spoilt(tmp_path, table([HEADER, *many])))


@pytest.mark.fault
@pytest.mark.parametrize("keys", [(b"b", b"a"), (b"a", b"a")])
def test_keys_that_are_not_in_order(tmp_path, keys):
    pairs = [(key, entry(1, (1,), 0, 0, 4)) for key in keys]
    with pytest.raises(ValueError, match=r"model\.index is damaged: its keys .* not in order"):
        read_bundle(spoilt(tmp_path, table([HEADER, *pairs])))


@pytest.mark.fault
def test_a_small_table_of_endless_keys(tmp_path, monkeypatch):
    monkeypatch.setattr("surform.hub.official.tensor_bundle._LARGEST", 1 << 14)
    pairs = [(b"a" * 2000 + bytes([i]), b"") for i in range(9)]
    raw = table([HEADER, *pairs], 99)
    assert len(raw) < 7000
    with pytest.raises(ValueError, match="too long"):
        read_bundle(spoilt(tmp_path, raw))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (bytes(100), "is no index of a TensorFlow checkpoint, or is cut off"),
        (table([(b"w", entry(1, (4,), 0, 0, 16))]), "has no header"),
        (table([(b"", b"\x08\x01\x10\x01")]), "big-endian"),
        (table([(b"", b"")]), "has 0 data files"),
        (block([], 1) + bytes([0, 0, 0, 8]).ljust(40, b"\0"), "is compressed"),
    ],
)
def test_files_that_are_no_index(tmp_path, raw, sentence):
    if sentence == "is compressed":
        raw += struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(ValueError, match=sentence):
        read_bundle(spoilt(tmp_path, raw))
