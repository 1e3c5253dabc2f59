"""Global heaps of HDF5 that have no end are refused; HDF5 alone would read them for ever."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from surform.data.atoms_files import open_atoms
from surform.data.demonstrations_files import open_demonstrations
from surform.data.fields import open_stored
from surform.data.heaps import require_sound_heaps
from surform.data.scenes_arrays import named_arrays
from surform.data.solvers.written import read_attributes
from tests.data.demonstration_files import write_minari


def flow(path: Path, words: int = 3) -> Path:
    """A field with many texts beside it, which lie in heaps."""
    attrs = {f"word_{n}": "of no importance" for n in range(words)}
    data = xr.Dataset({"u": (("sample", "x"), np.ones((2, 5)), attrs)}, {"x": np.arange(5.0)})
    data.to_netcdf(path, engine="h5netcdf")
    return path


def objects(content: bytes) -> list[int]:
    """Where the objects of the first heap begin; the last is its free space."""
    start = content.index(b"GCOL")
    (size,), at, found = struct.unpack_from("<Q", content, start + 8), start + 16, []
    while at < start + size:
        number, length = struct.unpack_from("<H6xQ", content, at)
        found.append(at)
        at += length if number == 0 else 16 + length + -length % 8
    return found


@pytest.mark.parametrize("words", [3, 400])
def test_sound_files_are_read(tmp_path: Path, words: int) -> None:
    path = flow(tmp_path / "flow.nc", words)
    heaps = path.read_bytes().count(b"GCOL\x01")
    assert heaps == 1 if words == 3 else heaps > 1
    require_sound_heaps(str(path))
    assert len(open_stored(str(path))["u"].attrs) == words


@pytest.mark.fault
@pytest.mark.parametrize("size", [0, 8, 15])
def test_free_space_that_leads_nowhere(tmp_path: Path, size: int) -> None:
    path = flow(tmp_path / "flow.nc")
    whole = path.read_bytes()
    for at in objects(whole):
        path.write_bytes(whole[:at] + struct.pack("<HHIQ", 0, 0, 0, size) + whole[at + 16 :])
        with pytest.raises(OSError, match=r"flow\.nc: the global heap at byte \d+ is damaged") as e:
            open_stored(str(path))
        assert f"free space of {size} bytes" in str(e.value)
        assert "\n" not in str(e.value)


def without_end(path: Path, last: bool) -> None:
    """Damage the first heap of a file, or the last."""
    whole = path.read_bytes()
    start = (whole.rindex if last else whole.index)(b"GCOL\x01")
    at = start + objects(whole[start:])[0]
    path.write_bytes(whole[:at] + bytes(16) + whole[at + 16 :])


@pytest.mark.fault
@pytest.mark.parametrize("words", [(), (400,), (20, 20)])
def test_arrays_of_texts_that_have_no_end(tmp_path: Path, words: tuple[int, ...]) -> None:
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file["names"] = np.full(words, "of no importance", dtype=h5py.string_dtype())
    require_sound_heaps(str(path))
    without_end(path, last=True)
    with pytest.raises(OSError, match=r"the global heap at byte \d+ is damaged"):
        require_sound_heaps(str(path))


@pytest.mark.fault
def test_names_of_axes_of_a_scene_that_have_no_end(tmp_path: Path) -> None:
    path = tmp_path / "scene.h5"
    with h5py.File(path, "w") as file:
        cube = file.create_dataset("cube", data=np.ones((2, 3, 4)))
        cube.dims[0].label = "row"
    require_sound_heaps(str(path))
    without_end(path, last=False)
    with pytest.raises(ValueError, match=r"scene\.h5 is refused or damaged: the global heap at"):
        named_arrays(path)


@pytest.mark.fault
def test_attributes_of_structures_that_have_no_end(tmp_path: Path) -> None:
    path = tmp_path / "water.h5"
    with h5py.File(path, "w") as file:
        file["numbers"], file["positions"] = np.array([[1, 8, 1]]), np.eye(3)[None]
        file.attrs["note"] = "made by hand"
    assert len(open_atoms(path)) == 1
    assert read_attributes(path) == {"note": "made by hand"}
    without_end(path, last=False)
    with pytest.raises(OSError, match=r"water\.h5.*: the global heap at byte \d+ is damaged"):
        open_atoms(path)
    assert read_attributes(path) == {}


@pytest.mark.fault
@pytest.mark.parametrize("kind", [b"\x19\x00\x00\x00\x10", b"\x19\x01\x01\x00\x10"])
def test_lists_and_texts_of_a_damaged_type(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "flow.nc"
    with h5py.File(path, "w") as file:
        file["u"], file["x"] = np.ones(5), np.arange(5.0)
        file["u"].attrs["units"] = "m s-1"
        file["x"].make_scale()
        file["u"].dims[0].attach_scale(file["x"])
    assert len(open_stored(str(path))["u"]) == 5
    path.write_bytes(path.read_bytes().replace(kind, b"\x19\xff" + kind[2:]))
    with pytest.raises(OSError, match=r"flow\.nc: the attribute \w+ of /u has a damaged type"):
        open_stored(str(path))


@pytest.mark.fault
def test_demonstrations_whose_texts_have_no_end(tmp_path: Path) -> None:
    path = write_minari(tmp_path / "demos.hdf5")
    whole = path.read_bytes()
    at = objects(whole)[0]
    path.write_bytes(whole[:at] + bytes(16) + whole[at + 16 :])
    with pytest.raises(OSError, match=r"demos\.hdf5.*: the global heap at byte \d+ is damaged"):
        open_demonstrations(str(path))
    path.write_bytes(whole.replace(b"\x19\x01\x01\x00\x10", b"\x19\xff\x01\x00\x10"))
    with pytest.raises(OSError, match="the attribute instruction of /episode_0 has a damaged type"):
        open_demonstrations(str(path))
