"""What can be wrong with samples on meshes: one sentence each, before training starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from surform.data import PointsData
from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from tests.data.point_files import ABOUT, sample, samples, store
from tests.data.points_faults import changed, one_sentence, poke, read

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("u", np.nan, ("a.zarr, sample 1: u is nan at index 2 of targets",)),
        ("x", np.inf, ("a.zarr, sample 1: x is inf at index 2 of points",)),
        ("weight", -1.0, ("sample 1: the weight -1 at index 2 is no measure",)),
        ("weight", np.nan, ("sample 1: the weight nan at index 2 is no measure",)),
    ],
)
def test_numbers_that_are_none(tmp_path: Path, name: str, value: float, words: tuple) -> None:
    path = changed(tmp_path, poke(name, len(sample(0).points) + 2, value))
    with pytest.raises(ValueError, match="sample 1") as error:
        read(path)
    one_sentence(error, *words)


def test_a_parameter_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample 3: re is nan") as error:
        read(changed(tmp_path, poke("re", 3, np.nan)))
    one_sentence(error)


def test_an_input_function_with_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="v is nan at index 1 of input function 'inlet'") as error:
        read(changed(tmp_path, poke("inlet_v", 1, np.nan)))
    one_sentence(error, "sample 0")


def test_an_empty_input_function(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="input function 'wall' is empty, it needs points"):
        store(tmp_path / "a.zarr", [emptied()])

    def move(group: zarr.Group) -> None:  # all of sample 1's rows to sample 0
        group["wall_row_size"][:2] = [8, 0]  # type: ignore[index]

    with pytest.raises(ValueError, match="sample 1: input function 'wall' is empty") as error:
        read(changed(tmp_path, move))
    one_sentence(error)


def emptied() -> PointSample:
    found = sample(0)
    return replace(found, inputs={**found.inputs, "wall": np.empty((0, 2))})


def test_a_sample_without_points(tmp_path: Path) -> None:
    def move(group: zarr.Group) -> None:
        sizes = group["row_size"][:]  # type: ignore[index]
        group["row_size"][:2] = [sizes[0] + sizes[1], 0]  # type: ignore[index]

    with pytest.raises(ValueError, match="sample 1 has no points"):
        read(changed(tmp_path, move))


def test_counts_that_do_not_add_up(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row_size counts .* rows, but there are") as error:
        read(changed(tmp_path, poke("row_size", 0, 100)))
    one_sentence(error, "the file is incomplete or was changed")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = Path(store(tmp_path / "a.h5"))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(OSError, match=r"a\.h5 is truncated") as error:
        read(str(path))
    one_sentence(error)


def test_a_damaged_chunk_names_its_variable(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "p" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(OSError, match=r"cannot read variable p of .*a\.zarr"):
        read(path)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    flow = xr.Dataset({"u": (("sample", "time", "x"), np.zeros((2, 3, 4)))})
    flow.to_zarr(tmp_path / "flow.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(ValueError, match="has no dimension 'point'") as error:
        read(str(tmp_path / "flow.zarr"))
    one_sentence(error, "sample, time, x")


def test_a_variable_that_is_not_there(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    for role, name, hint in (
        ("targets", "U", "has no target 'U': it holds p, u, weight, x, y"),
        ("parameters", "Re", "has no parameter 'Re'"),
        ("inputs", "inlets", "has no input function 'inlets': did you mean 'inlet'?"),
        ("coordinates", "z", "has no coordinate 'z'"),
        ("features", "level", "has no feature 'level'"),
    ):
        with pytest.raises(ValueError, match="has no") as error:
            read(path, **{role: (name,)})
        one_sentence(error, hint)


def test_roles_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    def spoil(group: zarr.Group) -> None:
        group.attrs["roles"] = "coordinates: x, y"

    with pytest.raises(ValueError, match="the attribute `roles` must be JSON"):
        read(changed(tmp_path, spoil))


def test_coordinates_in_another_order_than_in_an_input_function() -> None:
    with pytest.raises(ValueError, match="must begin with the coordinates y, x") as error:
        PointsDescription(("y", "x"), ("u",), inputs={"inlet": ("x", "y", "v")})
    one_sentence(error, "they are x, y, v")


def test_coordinates_that_are_asked_for_in_another_order(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'inlet' must begin with the coordinates y, x") as error:
        read(store(tmp_path / "a.zarr"), coordinates=("y", "x"))
    one_sentence(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": ("u",)}, "the variable 'u' is given twice"),
        ({"targets": ("u", "u")}, "the variable 'u' is given twice"),
        ({"targets": ("row_size",)}, "'row_size' is a reserved name"),
        ({"parameters": ("inlet_weight",)}, "'inlet_weight' is a reserved name"),
        ({"coordinates": ()}, "at least one coordinate"),
        ({"weighted": ("outlet",)}, "weights of 'outlet', which is no input function"),
    ],
)
def test_names_that_clash(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ABOUT, **changes)


def test_names_given_twice_on_the_command_line() -> None:
    with pytest.raises(ValueError, match="targets names 'u' twice"):
        PointsData("a.zarr", targets=["u", "u"])
    with pytest.raises(ValueError, match="inputs: give a list of names, got the string 'inlet'"):
        PointsData("a.zarr", inputs="inlet")  # type: ignore[arg-type]


def test_files_with_other_columns_are_not_joined(tmp_path: Path) -> None:
    first = store(tmp_path / "a.zarr")
    data = xr.open_zarr(first).load()
    fewer = data.drop_vars(["p"]).assign_attrs(roles=data.attrs["roles"].replace('"u", "p"', '"u"'))
    fewer.to_zarr(tmp_path / "b.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(ValueError, match=r"a\.zarr has targets u, p, .*b\.zarr has u") as error:
        read([first, str(tmp_path / "b.zarr")])
    one_sentence(error)


def test_files_in_other_units_are_not_joined(tmp_path: Path) -> None:
    first = store(tmp_path / "a.zarr")
    data = xr.open_zarr(first).load()
    data["u"].attrs["units"] = "cm s-1"
    data.to_zarr(tmp_path / "b.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(ValueError, match="u in 'm s-1'") as error:
        read([first, str(tmp_path / "b.zarr")])
    one_sentence(error, "'cm s-1': multiply by 0.01")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize_points": "pointwise"}, "normalize_points='pointwise': choose channel, none"),
        ({"on": "faces"}, "on='faces': choose auto, points, cells"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"bucket": 0}, "bucket must be at least 1"),
        ({"marker_values": ["p"]}, "marker_values belong to markers"),
        ({"dtype": "float16"}, "dtype='float16': choose float32, float64"),
    ],
)
def test_options_that_are_none(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointsData("a.zarr", **options)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": 6, "validation": 0}, "split validation=0 is empty"),
        ({"train": 0.1, "test": 1}, "split train=0.1 is empty"),
        ({"train": 5, "test": 2}, "the splits overlap: train 5 \\+ test 2 = 7 samples"),
        ({"training": 5}, "unknown split 'training'"),
    ],
)
def test_splits_without_samples(tmp_path: Path, split: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointsData(store(tmp_path / "a.zarr"), split=split).setup("fit")


def test_one_file_is_not_both_training_and_test(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=r"a\.zarr is in both path and test_path"):
        PointsData(path, test_path=path).setup("fit")
    with pytest.raises(ValueError, match="test data are given twice: by split and by test_path"):
        PointsData(path, split={"train": 3, "test": 1}, test_path=path).setup("fit")


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    data = PointsData(store(tmp_path / "a.zarr"), split={"train": 6})
    with pytest.raises(ValueError, match="there are no test data: split gives train"):
        data.test_dataloader()


def test_numbers_beyond_float32(tmp_path: Path) -> None:
    huge = [sample(k, targets=sample(k).targets * 1e40) for k in range(6)]
    path = store(tmp_path / "a.zarr", huge)
    with pytest.raises(ValueError, match="sample 0 holds numbers that float32 cannot") as error:
        PointsData(path).setup("fit")
    one_sentence(error, "set dtype to float64")
    PointsData(path, dtype="float64").setup("fit")


def test_numbers_that_float32_hardly_tells_apart(tmp_path: Path) -> None:
    far = [sample(k, points=sample(k).points + [5e6, 0]) for k in range(6)]
    data = PointsData(store(tmp_path / "a.zarr", far))
    with pytest.raises(ValueError, match=r"x differs by 0\.\d+ about 5e\+06 only") as error:
        data.normalizers()
    one_sentence(error, "float32 hardly tells apart: set dtype to float64, or subtract a constant")
    PointsData(data.path, dtype="float64").normalizers()


def test_a_target_that_never_changes(tmp_path: Path) -> None:
    still = [sample(k, targets=sample(k).targets * [1, 0]) for k in range(6)]
    with pytest.raises(ValueError, match="the target 'p' is 0 at all points of all") as error:
        PointsData(store(tmp_path / "a.zarr", still)).normalizers()
    one_sentence(error, "leave it out, there is nothing to learn")


def test_units_of_unknown_variables(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="units names 'q', which is none of"):
        PointsData(store(tmp_path / "a.zarr"), units={"q": "m"}).description()


def test_workers_for_pickles(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "a.pkl"
    found = [[s.points, s.targets, s.parameters, tuple(s.inputs.values())] for s in samples()]
    path.write_bytes(pickle.dumps(found))
    data = PointsData(str(path), workers=1, cache="files")
    with pytest.raises(ValueError, match="lives in this process: set workers to 0"):
        data.train_dataloader()
