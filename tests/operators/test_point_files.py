"""Predictions on meshes into files of the same format: the same mesh, with numbers on it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import meshio
import numpy as np
import pytest
import torch
import xarray as xr

from surform.data import PointsData
from surform.data.mesh_files import read_mesh
from surform.data.points_files import open_points
from surform.operators.point_surrogate import PointSurrogate
from tests.data.point_files import mesh, mesh_folder, sample, samples, store, write_mesh_file
from tests.operators.toy_points import PointToy


def trained(path: str, **options: Any) -> PointSurrogate:
    torch.manual_seed(0)
    data = PointsData(path, split={"train": 1.0}, **options)
    sizes = data.description().sizes()
    net = PointToy(
        len(sizes["in_channels"]),  # type: ignore[arg-type]
        len(sizes["out_channels"]),  # type: ignore[arg-type]
        len(sizes["parameters"]),  # type: ignore[arg-type]
        tuple(sizes["input_channels"]),  # type: ignore[arg-type]
    )
    model = PointSurrogate(net)
    model.fit_to(data.description(), *data.normalizers())
    return model.eval()


def same_mesh(one: meshio.Mesh, other: meshio.Mesh) -> None:
    assert np.array_equal(one.points, other.points)
    assert [block.type for block in one.cells] == [block.type for block in other.cells]
    for mine, theirs in zip(one.cells, other.cells, strict=True):
        assert np.array_equal(mine.data, theirs.data)


def test_a_folder_of_meshes_gives_one_with_predictions_on_them(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path / "in", 3)
    model = trained(folder)
    out = model.predict_file(folder, tmp_path / "out", batch_size=2)
    assert sorted(p.name for p in out.iterdir()) == [
        "case_0.vtu",
        "case_1.vtu",
        "case_2.vtu",
        "surform.json",
    ]
    note = json.loads((out / "surform.json").read_text())
    assert note["made_by"] == "surform predict"
    for number in range(3):
        found, given = (read_mesh(f / f"case_{number}.vtu").mesh for f in (out, tmp_path / "in"))
        same_mesh(found, given)
        expected = model.predict(open_points(folder).read(number))
        np.testing.assert_allclose(found.point_data["p"], expected[:, 0], rtol=1e-5)
        np.testing.assert_allclose(found.point_data["velocity"][:, :2], expected[:, 1:], rtol=1e-5)
        assert not found.point_data["velocity"][:, 2].any()
        for name in ("heat", "side"):  # what is not predicted is kept
            for mine, theirs in zip(found.cell_data[name], given.cell_data[name], strict=True):
                assert np.array_equal(mine, theirs)
    # predictions may be renewed, in place
    model.predict_file(folder, tmp_path / "out")
    assert len(list(out.iterdir())) == 4


def test_one_file_without_the_targets(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path / "in", 3)
    model = trained(folder)
    write_mesh_file(tmp_path / "in" / "new.vtu", mesh(1, point_data={}))
    (tmp_path / "in" / "new.inlet.csv").write_text("x,y,g\n0,0,1\n0,1,2\n")
    table = tmp_path / "in" / "parameters.csv"
    table.write_text(table.read_text() + "new,2.5\n")
    out = model.predict_file(f"{folder}/new.vtu", tmp_path / "new-predicted.vtu")
    found = read_mesh(out).mesh
    same_mesh(found, read_mesh(tmp_path / "in" / "new.vtu").mesh)
    assert set(found.point_data) == {"p", "velocity"}


def test_predictions_on_cells(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path / "in", 3, inlet=False)
    model = trained(folder, targets=["heat"], markers="side")
    model.predict_file(folder, tmp_path / "out")
    found = read_mesh(tmp_path / "out" / "case_1.vtu").mesh
    expected = model.predict(open_points(folder, _like(model)).read(1))
    np.testing.assert_allclose(found.cell_data["heat"][0], expected[:, 0], rtol=1e-5)
    assert np.isnan(found.cell_data["heat"][1]).all()  # on the boundary nothing is predicted


def _like(model: PointSurrogate) -> Any:
    from surform.operators.labelled_points import selection_of

    return selection_of(model)


def test_numbers_of_the_whole_mesh_are_kept(tmp_path: Path) -> None:
    for number in range(2):
        path = write_mesh_file(tmp_path / f"a_{number}.vtu", mesh(number))
        field = '<FieldData><DataArray type="Float64" Name="re" NumberOfTuples="1" format="ascii">'
        text = Path(path).read_text().replace("<Piece", f"{field}0.1</DataArray></FieldData><Piece")
        Path(path).write_text(text)
    model = trained(str(tmp_path), targets=["p"])
    out = model.predict_file(str(tmp_path), tmp_path / "out")
    assert read_mesh(out / "a_0.vtu").numbers() == {"re": 0.1}
    assert len(open_points(str(out)).read(1).parameters) == 1


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".nc"])
def test_stores_come_back_as_stores(tmp_path: Path, suffix: str) -> None:
    path = store(tmp_path / f"a{suffix}")
    model = trained(path)
    out = model.predict_file(path, tmp_path / f"out{suffix}", chunk=4)
    source = open_points(str(out))
    for number, found in enumerate(source.read_all(range(6))):
        assert np.array_equal(found.points, sample(number).points)
        np.testing.assert_allclose(found.targets, model.predict(sample(number)), rtol=1e-4)
        assert np.array_equal(found.inputs["inlet"], sample(number).inputs["inlet"])
    assert source.about.units["u"] == "m s-1"
    assert source.provenance()["made_by"] == "surform predict"
    if suffix == ".zarr":
        model.predict_file(path, out)  # older predictions are replaced
        with pytest.raises(FileExistsError, match="exists and is not a set of predictions"):
            model.predict_file(str(out), path)


def test_a_pickle_gives_a_store(tmp_path: Path) -> None:
    found = [[s.points, s.targets, s.parameters, tuple(s.inputs.values())] for s in samples()]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(found))
    model = trained(str(tmp_path / "a.pkl"), targets=["u", "p"], inputs=["inlet", "wall"])
    out = model.predict_file(str(tmp_path / "a.pkl"), tmp_path / "out.zarr")
    with xr.open_zarr(out) as data:
        assert data["u"].sizes["point"] == sum(len(s.points) for s in samples())


@pytest.mark.fault
def test_predictions_never_replace_what_they_are_made_from(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path / "in", 2)
    model = trained(folder)
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        model.predict_file(f"{folder}/case_0.vtu", f"{folder}/case_0.vtu")
    with pytest.raises(ValueError, match="would replace the data it is made from"):
        model.predict_file(folder, folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="exists and is not a set of predictions"):
        model.predict_file(folder, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


@pytest.mark.fault
def test_files_of_another_kind_are_not_written(tmp_path: Path) -> None:
    folder, path = mesh_folder(tmp_path / "in", 2), store(tmp_path / "a.h5")
    model = trained(folder)
    with pytest.raises(ValueError, match=r"are written to a \.vtu file, not"):
        model.predict_file(f"{folder}/case_0.vtu", tmp_path / "out.zarr")
    with pytest.raises(ValueError, match="are written to a folder of such files, not"):
        model.predict_file(folder, tmp_path / "out.zarr")
    with pytest.raises(ValueError, match=r"written to one of \.zarr, \.h5, \.hdf5, \.nc, not to"):
        trained(path).predict_file(path, tmp_path / "out.csv")


@pytest.mark.fault
def test_data_that_the_model_was_not_trained_for(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path / "in", 2)
    model = trained(folder)
    (tmp_path / "in" / "case_1.inlet.csv").rename(tmp_path / "in" / "case_1.outlet.csv")
    with pytest.raises(ValueError, match=r"case_1\.vtu has no input function 'inlet': did you m"):
        model.predict_file(folder, tmp_path / "out")
    (tmp_path / "in" / "parameters.csv").unlink()
    with pytest.raises(ValueError, match=r"case_0\.vtu has no parameter 're'"):
        model.predict_file(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.fault
def test_solid_meshes_for_a_model_of_plane_ones(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path / "in", 2, inlet=False, table=False)
    model = trained(folder)
    lifted = mesh(1)
    lifted.points = lifted.points + np.array([0, 0, 1]) * lifted.points[:, :1]
    path = write_mesh_file(tmp_path / "solid.vtu", lifted)
    with pytest.raises(ValueError, match=r"was trained with coordinates x, y, .* has x, y, z"):
        model.predict_file(path, tmp_path / "out.vtu")


@pytest.mark.fault
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mesh_folder(tmp_path / "in", 3)
    model = trained(folder)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("surform.operators.point_files.write_mesh", full)
    with pytest.raises(OSError, match=r"no space left to write .*out"):
        model.predict_file(folder, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
