"""GNOT's pickles: read when they are plain, refused before anything runs when they are not."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.data.plain_pickle import read_plain_pickle
from surform.data.points_files import open_points
from surform.data.points_selection import PointsSelection
from tests.data.point_files import samples


def official(count: int = 4) -> list[Any]:
    return [
        [
            s.points.astype(np.float32),
            s.targets,
            s.parameters,
            (s.inputs["inlet"], s.inputs["wall"]),
        ]
        for s in samples(count)
    ]


def dump(path: Path, found: Any, protocol: int = 4) -> str:
    with path.open("wb") as file:
        pickle.dump(found, file, protocol=protocol)
    return str(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_come_back(tmp_path: Path, protocol: int) -> None:
    given = {"a": [np.arange(6.0).reshape(2, 3), np.float32(2), (1, 2.5, "text", None, True)]}
    given["f"] = [np.asfortranarray(np.eye(3))]
    given["g"] = [np.arange(4, dtype=">i2"), np.array(True), np.empty((0, 3)), np.float16([1.5])]
    found = read_plain_pickle(dump(tmp_path / "a.pkl", given, protocol))
    for mine, theirs in zip(found["g"], given["g"], strict=True):
        assert mine.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
        assert (mine.shape, mine.tolist()) == (theirs.shape, theirs.tolist())
    assert np.array_equal(found["a"][0], given["a"][0])
    assert np.array_equal(found["f"][0], given["f"][0])
    assert found["a"][1:] == given["a"][1:]


def test_published_data_without_names(tmp_path: Path) -> None:
    source = open_points(dump(tmp_path / "a.pkl", official()))
    about = source.about
    assert (about.coordinates, about.targets) == (("x", "y"), ("target_0", "target_1"))
    assert about.parameters == ("theta_0",)
    assert about.inputs == {"input_0": ("x", "y", "value_0"), "input_1": ("x", "y")}
    found, mine = source.read(3), samples()[3]
    assert np.array_equal(found.targets, mine.targets)
    assert np.array_equal(found.inputs["input_0"], mine.inputs["inlet"])
    assert found.weights is None


def test_published_data_with_names(tmp_path: Path) -> None:
    selection = PointsSelection(
        coordinates=("x",),
        features=("y",),
        targets=("u", "p"),
        parameters=("re",),
        inputs=("inlet", "wall"),
    )
    about = open_points(dump(tmp_path / "a.pkl", official()), selection).about
    assert (about.coordinates, about.features, about.targets) == (("x",), ("y",), ("u", "p"))
    assert about.inputs == {"inlet": ("x", "value_0", "value_1"), "wall": ("x", "value_0")}


class Payload:
    """What a hostile pickle does: it runs a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.fault
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "it-ran"
    path = dump(tmp_path / "a.pkl", [*official(1), [Payload(mark)]], protocol)
    with pytest.raises(ValueError, match=r"asks for posix\.system: a pickle may hold .* only"):
        open_points(path)
    assert not mark.exists()


@pytest.mark.fault
@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'1'\nS'2'\ntR.",
        b"c_codecs\nencode\n(VA\nVzlib\ntR.",
        b"Pelsewhere\n.",
    ],
)
def test_other_ways_out_of_a_pickle_are_closed(tmp_path: Path, code: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(code)
    with pytest.raises(ValueError, match=r"a\.pkl|the pickle"):
        read_plain_pickle(tmp_path / "a.pkl")


def from_numpy(module: str, name: str, *arguments: bytes) -> bytes:
    """Opcodes that call what stands under a name."""
    return b"c%b\n%b\n(%btR" % (module.encode(), name.encode(), b"".join(arguments))


def plain(value: Any) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


@pytest.mark.fault
def test_raw_bytes_are_never_taken_for_objects(tmp_path: Path) -> None:
    """An array of objects whose type says that it holds none is made of addresses."""
    number = from_numpy("numpy", "dtype", plain("O8"), plain(False), plain(True))
    number += plain((3, "|", None, None, None, -1, -1, 0)) + b"b"
    address = plain(struct.pack("<Q", id(os.system)))
    scalar = from_numpy("numpy.core.multiarray", "scalar", number, address)
    mark = tmp_path / "it-ran"
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + scalar + plain((f"touch {mark}",)) + b"R.")
    with pytest.raises(ValueError, match=r"a\.pkl holds an array of 'O8', not of numbers"):
        read_plain_pickle(tmp_path / "a.pkl")
    assert not mark.exists()


@pytest.mark.fault
@pytest.mark.parametrize(
    "made",
    [
        from_numpy("numpy", "ndarray", plain((1,)), plain("O"), plain(b"01234567")),
        from_numpy("numpy.core.multiarray", "_reconstruct")
        + b"(K\x01" + plain((-1, -1))
        + from_numpy("numpy", "dtype", plain("f8"), plain(False), plain(True))
        + plain(False) + plain(b"01234567") + b"tb",
        from_numpy("numpy.core.multiarray", "_reconstruct")
        + b"(K\x01" + plain((2,))
        + from_numpy("numpy", "dtype", plain("f8"), plain(False), plain(True))
        + plain(False) + plain(b"01234567") + b"tb",
        b"cnumpy\nndarray\n(NtR}S'x'\nK\x01sb",
    ],
    ids=["called", "negative", "too short", "changed"],
)  # fmt: skip
def test_arrays_come_whole_or_not_at_all(tmp_path: Path, made: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + made + b".")
    with pytest.raises(OSError, match="no whole pickle"):
        read_plain_pickle(tmp_path / "a.pkl")


@pytest.mark.fault
def test_a_truncated_pickle(tmp_path: Path) -> None:
    path = Path(dump(tmp_path / "a.pkl", official()))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"a\.pkl is no whole pickle: "):
        open_points(str(path))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"a": d}, "must hold a list of samples"),
        (lambda d: [d[0], d[1][:3]], r"sample 1 must be \[X, Y, theta, .*\], it has 3 entries"),
        (lambda d: [d[0][:1] + [d[0][1][:-1]] + d[0][2:]], "sample 0: targets of a sample with"),
        (lambda d: [[np.array([{}])] + d[0][1:]], r"a\.pkl holds an array of 'O8', not of numbers"),
        (lambda d: [[["a"]] + d[0][1:]], "sample 0: X holds <U1, not numbers"),
        (lambda d: [[d[0][0][None]] + d[0][1:]], "X must be a table of rows, it has the shape"),
        (lambda d: [d[0], [*d[1][:3], d[1][3][:1]]], "sample 1 has 1 input functions"),
        (lambda d: [d[0], [*d[1][:3], (d[1][3][1], d[1][3][1])]], "have 2 columns where 3"),
    ],
)
def test_pickles_of_another_structure(tmp_path: Path, change: Any, message: str) -> None:
    path = dump(tmp_path / "a.pkl", change(official()))
    with pytest.raises(ValueError, match=message):
        list(open_points(path).read_all(range(2)))


@pytest.mark.fault
def test_more_names_than_columns(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.pkl", official())
    with pytest.raises(ValueError, match="Y: there are 2, but names for 3"):
        open_points(path, PointsSelection(targets=("u", "v", "p")))
    with pytest.raises(ValueError, match="X has 2 columns, coordinates names 3"):
        open_points(path, PointsSelection(coordinates=("x", "y", "z")))
