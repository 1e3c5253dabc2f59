"""Samples written to Zarr and HDF5, and read again: by us and by plain xarray."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surform.data.points import PointSample
from surform.data.points_files import open_points
from surform.data.points_selection import PointsSelection
from surform.data.points_write import PointsWriter, write_points
from surform.data.points_xarray import StoredPoints
from tests.data.point_files import ABOUT, sample, samples, store


def same(one: PointSample, other: PointSample) -> bool:
    pairs = [(one.points, other.points), (one.targets, other.targets)]
    pairs += [(one.parameters, other.parameters), (one.weights, other.weights)]
    pairs += [(one.inputs[n], other.inputs[n]) for n in one.inputs]
    pairs += [(one.input_weights[n], other.input_weights[n]) for n in one.input_weights]
    return list(one.inputs) == list(other.inputs) and all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5", "a.nc"])
def test_what_was_written_is_read_bit_for_bit(tmp_path: Path, name: str) -> None:
    source = open_points(store(tmp_path / name))
    assert len(source) == 6
    assert source.about.to_dict() == ABOUT.to_dict() | {"weighted": ["points", "inlet"]}
    for number, found in enumerate(source.read_all(range(6))):
        assert same(found, sample(number))
        assert same(source.read(number), sample(number))
    assert source.provenance() == {"solver": "none", "seed": "3"}
    assert source.place(2) == f"{tmp_path / name}, sample 2"


@pytest.mark.parametrize(("name", "engine"), [("a.zarr", "zarr"), ("a.h5", "h5netcdf")])
def test_xarray_sees_ragged_arrays_with_units_and_roles(
    tmp_path: Path, name: str, engine: str
) -> None:
    with xr.open_dataset(store(tmp_path / name), engine=engine, decode_times=False) as found:
        lengths = [len(s.points) for s in samples()]
        assert found["row_size"].values.tolist() == lengths
        assert found["row_size"].attrs["sample_dimension"] == "point"
        assert found["inlet_row_size"].attrs["sample_dimension"] == "inlet_point"
        assert found["u"].dims == found["weight"].dims == ("point",)
        assert found["inlet_v"].dims == ("inlet_point",)
        assert found["re"].dims == ("sample",)
        units = {n: found[n].attrs.get("units") for n in ("x", "u", "inlet_x", "inlet_v", "re")}
        assert units == {"x": "m", "u": "m s-1", "inlet_x": "m", "inlet_v": "m s-1", "re": None}
        roles = json.loads(found.attrs["roles"])
        assert roles["inputs"] == {"inlet": ["x", "y", "v"], "wall": ["x", "y"]}


def test_a_writer_keeps_types_and_empties_its_buffer_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surform.data.points_write._BUFFER_BYTES", 400)  # several writes
    kinds = [sample(k, targets=sample(k).targets.astype(np.float32)) for k in range(5)]
    source = open_points(store(tmp_path / "a.zarr", kinds))
    assert source.read(1).targets.dtype == np.float32
    assert source.read(1).points.dtype == np.float64
    assert all(same(source.read(k), kinds[k]) for k in range(5))


def test_a_whole_number_does_not_cut_those_that_follow(tmp_path: Path) -> None:
    found = [sample(k, parameters=np.array([value])) for k, value in enumerate((1, 1.5))]
    source = open_points(store(tmp_path / "a.zarr", found))
    assert [float(s.parameters[0]) for s in source.read_all(range(2))] == [1.0, 1.5]


def test_a_stopped_writer_is_continued_and_loses_nothing_it_had_flushed(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.zarr", tmp_path / "part.zarr"
    store(whole)
    writer = PointsWriter(part, ABOUT, {"solver": "none", "seed": 3})
    for number in range(2):
        writer.append(sample(number))
    writer.flush()
    writer.append(sample(2))  # never flushed: killed
    writer.rows.append("x", np.ones(4))  # or killed in the middle of a flush
    with PointsWriter(part, ABOUT, {"solver": "none", "seed": 3}, resume=True) as writer:
        assert writer.samples == 2
        for number in range(2, 6):
            writer.append(sample(number))
    assert xr.open_zarr(part).identical(xr.open_zarr(whole))


def test_counts_that_a_kill_left_unwritten_do_not_count(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.zarr", tmp_path / "part.zarr"
    store(whole)
    writer = PointsWriter(part, ABOUT, {"solver": "none", "seed": 3})
    for number in range(2):
        writer.append(sample(number))
    writer.flush()
    for name in ("x", "row_size"):  # zarr makes an array longer before it writes the values
        array = writer.rows.group[name]
        array.resize((array.shape[0] + 2,))
    with PointsWriter(part, ABOUT, {"solver": "none", "seed": 3}, resume=True) as writer:
        assert writer.samples == 2
        for number in range(2, 6):
            writer.append(sample(number))
    assert xr.open_zarr(part).identical(xr.open_zarr(whole))


def test_an_unstarted_store_is_continued_from_nothing(tmp_path: Path) -> None:
    PointsWriter(tmp_path / "a.zarr", ABOUT)
    with PointsWriter(tmp_path / "a.zarr", ABOUT, resume=True) as writer:
        assert writer.samples == 0
        writer.append(sample(0))
    assert len(open_points(str(tmp_path / "a.zarr"))) == 1


def test_reading_one_sample_reads_its_rows_only(tmp_path: Path) -> None:
    source = open_points(store(tmp_path / "a.zarr"))
    assert isinstance(source, StoredPoints)
    asked = []
    values = source._values
    source._values = lambda name, key: asked.append((name, key)) or values(name, key)  # type: ignore[method-assign]
    source.read(3)
    first = sum(len(sample(k).points) for k in range(3))
    assert dict(asked)["u"] == slice(first, first + len(sample(3).points))


def test_a_selection_takes_some_of_the_variables(tmp_path: Path) -> None:
    selection = PointsSelection(
        targets=("p",), parameters=(), inputs=("wall",), features=("u",), weights=False
    )
    about = open_points(store(tmp_path / "a.zarr"), selection).about
    assert (about.targets, about.features, about.parameters) == (("p",), ("u",), ())
    assert about.inputs == {"wall": ("x", "y")}
    assert about.weighted == ()
    found = open_points(store(tmp_path / "a.zarr"), selection).read(0)
    assert np.array_equal(found.points[:, 2], sample(0).targets[:, 0])


def test_files_of_other_makers_are_understood_by_their_names(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    plain = xr.open_zarr(path).load()
    plain.attrs = {}
    plain.to_zarr(tmp_path / "plain.zarr", zarr_format=3, consolidated=False)
    about = open_points(str(tmp_path / "plain.zarr")).about
    assert about.coordinates == ("x", "y")
    assert set(about.targets) == {"u", "p"}
    assert about.parameters == ("re",)
    assert about.inputs == {"inlet": ("x", "y", "v"), "wall": ("x", "y")}
    assert about.weighted == ("points", "inlet")


def test_one_mesh_for_all_samples_needs_no_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    data = xr.Dataset(
        {
            "u": (("sample", "point"), draw.random((4, 7))),
            "force": (("sample", "force_point"), draw.random((4, 3))),
            "force_x": ("force_point", draw.random(3)),
            "force_y": ("force_point", draw.random(3)),
            "force_f": (("sample", "force_point"), draw.random((4, 3))),
            "mach": ("sample", draw.random(4)),
        },
        coords={"x": ("point", draw.random(7)), "y": ("point", draw.random(7))},
    ).drop_vars("force")
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    source = open_points(str(tmp_path / "a.nc"))
    assert len(source) == 4
    assert source.about.inputs == {"force": ("x", "y", "f")}
    monkeypatch.setattr("surform.data.points_source._BLOCK_ROWS", 14)
    assert isinstance(source, StoredPoints)
    asked, block = [], source._block
    source._block = lambda samples: asked.append(samples) or block(samples)  # type: ignore[method-assign]
    found = list(source.read_all(range(4)))[2]
    assert asked == [range(2), range(2, 4)]  # as many as fit into a block, not all at once
    assert np.array_equal(found.targets[:, 0], data["u"].values[2])
    assert np.array_equal(found.points[:, 1], data["y"].values)
    assert np.array_equal(found.inputs["force"][:, 2], data["force_f"].values[2])
    assert found.parameters.tolist() == [data["mach"].values[2]]


def test_several_files_are_joined(tmp_path: Path) -> None:
    paths = [store(tmp_path / "a.zarr"), store(tmp_path / "b.h5", [sample(9)])]
    source = open_points(paths)
    assert len(source) == 7
    assert same(source.read(6), sample(9))
    assert all(map(same, source.read_all([6, 1, 2]), [sample(9), sample(1), sample(2)]))
    assert source.place(6) == f"{paths[1]}, sample 0"
    assert not source.fork_safe
    assert source.paths() == paths


@pytest.mark.fault
def test_a_failed_write_leaves_the_older_file(tmp_path: Path) -> None:
    path = store(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(ValueError, match="sample 1: u is nan at index 2 of targets"):
        store(tmp_path / "a.h5", [sample(0), broken()])
    assert (tmp_path / "a.h5").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert len(open_points(path)) == 6


def broken() -> PointSample:
    targets = sample(1).targets.copy()
    targets[2, 0] = np.nan
    return sample(1, targets=targets)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "there are no samples to write to"),
        ([sample(0), sample(1, weights=None)], "sample 1 has weights where samples before"),
        ([sample(0, targets=np.zeros((5, 3)))], "the targets have 3 columns where 2 are described"),
        ([sample(0, targets=np.zeros((5, 0)))], "sample 0 has no targets"),
    ],
)
def test_samples_that_cannot_be_written(tmp_path: Path, found: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store(tmp_path / "a.zarr", found)
    assert not list(tmp_path.iterdir())


@pytest.mark.fault
def test_a_store_of_other_variables_is_not_continued(tmp_path: Path) -> None:
    store(tmp_path / "a.zarr")
    from dataclasses import replace

    with pytest.raises(ValueError, match="holds samples with other variables"):
        PointsWriter(tmp_path / "a.zarr", replace(ABOUT, targets=("u", "q")), resume=True)


@pytest.mark.fault
def test_names_and_endings_that_files_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in one of \.zarr, \.h5, \.hdf5, \.nc"):
        write_points(tmp_path / "a.vtu", samples(), ABOUT)
    from dataclasses import replace

    with pytest.raises(ValueError, match="'a/b' cannot be the name of a variable"):
        write_points(tmp_path / "a.zarr", samples(), replace(ABOUT, parameters=("a/b",)))
