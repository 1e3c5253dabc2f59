"""MATLAB files: the arrays that scipy reads, and damaged bytes, which end its process."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from surform.data.scenes_arrays import named_arrays
from surform.data.scenes_matlab import level_5_arrays
from surform.data.scenes_open import open_labels, open_scene
from tests.data.scene_files import labelled, scene

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


def element(order: str, kind: int, data: bytes) -> bytes:
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def variable(order: str, name: bytes, array: np.ndarray, code: int, kind: int) -> bytes:
    """An array as it is written: flags, sizes of axes, name, numbers by columns."""
    numbers = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    parts = element(order, 6, struct.pack(order + "II", code, 0))
    parts += element(order, 5, struct.pack(f"{order}{array.ndim}i", *array.shape))
    return element(order, 14, parts + element(order, 1, name) + element(order, kind, numbers))


def file_of(path: Path, order: str, *variables: bytes) -> Path:
    mark = b"IM" if order == "<" else b"MI"
    head = b"MATLAB 5.0".ljust(124) + struct.pack(order + "H", 0x100) + mark
    path.write_bytes(head + b"".join(variables))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_are_those_of_scipy(tmp_path: Path, packed: bool) -> None:
    draw = np.random.default_rng(0)
    arrays = {f"array_{t}": draw.integers(0, 99, (3, 4, 5)).astype(t) for t in _TYPES}
    arrays |= {"none": np.zeros((0, 3)), "one": np.array([[7]], np.uint8), "m": np.eye(4) > 0}
    others: dict[str, Any] = {
        "text": "words", "record": {"a": np.eye(2)}, "sparse": csc_matrix(np.eye(3)),
        "complex": np.eye(2) * 1j, "cells": np.array([np.eye(2), "b"], dtype=object),
    }  # fmt: skip
    path = tmp_path / "all.mat"
    savemat(path, others | arrays, do_compression=packed)
    found, expected = level_5_arrays(path), loadmat(path)
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


def test_files_of_machines_with_the_other_order_of_bytes(tmp_path: Path) -> None:
    cube, labels = scene(9, 7)
    variables = variable(">", b"cube", cube, 7, 7), variable(">", b"gt", labels, 9, 2)
    path = file_of(tmp_path / "scene.mat", ">", *variables)
    opened = open_scene(path)
    read = opened.read(slice(0, 9), slice(0, 7), range(cube.shape[2]))
    np.testing.assert_array_equal(read, cube)
    np.testing.assert_array_equal(open_labels(path)[0], labels)


def test_numbers_stored_in_fewer_bytes_than_their_class_has(tmp_path: Path) -> None:
    small = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = file_of(tmp_path / "a.mat", "<", variable("<", b"x", small, 6, 2))  # 6: double
    np.testing.assert_array_equal(level_5_arrays(path)["x"], small)
    np.testing.assert_array_equal(loadmat(path)["x"], small)


def test_files_of_level_4(tmp_path: Path) -> None:
    labels = scene(9, 7)[1]
    savemat(tmp_path / "old.mat", {"gt": labels}, format="4")
    np.testing.assert_array_equal(open_labels(tmp_path / "old.mat")[0], labels)


@pytest.mark.fault
@pytest.mark.parametrize("packed", [False, True])
def test_any_damaged_byte_and_any_end(tmp_path: Path, packed: bool) -> None:
    cube, labels = scene(2, 3)
    savemat(tmp_path / "whole.mat", {"cube": cube, "gt": labels}, do_compression=packed)
    whole, path = (tmp_path / "whole.mat").read_bytes(), tmp_path / "scene.mat"
    said = []
    for at in range(124, len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([23 * (at % 12)]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            try:
                named_arrays(path)
            except ValueError as error:
                said.append(str(error))
    assert len(said) > len(whole) // 2
    assert all(text.startswith(f"{path} is refused or damaged: ") for text in said)
    assert not any("\n" in text for text in said)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        open_scene(path)
    return str(error.value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (128, 99, "in the variable at byte 128 the type is 99, a variable has 14 or 15"),
        (132, 1 << 20, "the file ends within the variable at byte 128"),
        (136, 77, "in the variable at byte 128 the type of the flags is 77"),
        (152, 0, "the type of the sizes of axes is 0"),
        (160, 2**32 - 1, "the sizes of its 3 axes are (-1, 3, 7)"),
        (160, 3, "there are 42 numbers, its axes have the sizes (3, 3, 7)"),
        (156, 4, "the sizes of its 1 axes are (2,)"),
        (176, 6, "the type of the name is 6"),
        (192, 200, "the type of the numbers is 200"),
        (196, 1 << 20, "1048576 bytes are said to follow where there are fewer"),
        (192, 9, None),  # 21 numbers of eight bytes
        (196, 166, "the numbers have 166 bytes, 4 each"),
    ],
)
def test_tags_that_cannot_be(tmp_path: Path, at: int, value: int, message: str | None) -> None:
    path = file_of(tmp_path / "x.mat", "<", variable("<", b"cube", scene(2, 3)[0], 7, 7))
    data = bytearray(path.read_bytes())
    data[at : at + 4] = struct.pack("<I", value)
    path.write_bytes(data)
    assert (message or "there are 21 numbers") in refusal(path)


@pytest.mark.fault
def test_packed_bytes_that_are_not_what_their_tag_says(tmp_path: Path) -> None:
    inner = variable("<", b"cube", scene(2, 3)[0], 7, 7)
    for content in (inner[:4] + struct.pack("<I", 64) + inner[8:] + bytes(1 << 26), inner[:-8]):
        packed = zlib.compress(content)
        path = file_of(tmp_path / "x.mat", "<", struct.pack("<II", 15, len(packed)) + packed)
        assert "the packed bytes are not the" in refusal(path)
    damaged = zlib.compress(inner)[:-4] + b"abcd"
    path = file_of(tmp_path / "x.mat", "<", struct.pack("<II", 15, len(damaged)) + damaged)
    assert "the packed bytes are damaged: Error -3" in refusal(path)


@pytest.mark.fault
def test_what_is_no_matlab_file(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(b"hello" * 40)
    assert "it does not begin as a MATLAB file does" in refusal(tmp_path / "x.mat")
    labelled(tmp_path / "y.mat", *scene(2, 3))
    (tmp_path / "y.mat").write_bytes((tmp_path / "y.mat").read_bytes()[:100])
    assert "it does not begin as a MATLAB file does" in refusal(tmp_path / "y.mat")
