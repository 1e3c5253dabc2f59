"""Meshes and tables of points that cannot be used: one sentence each."""

from __future__ import annotations

from pathlib import Path

import meshio
import numpy as np
import pytest

from tests.data.point_files import mesh, mesh_folder, write_mesh_file
from tests.data.points_faults import one_sentence, read

pytestmark = pytest.mark.fault


def test_an_unknown_kind_of_cell(tmp_path: Path) -> None:
    points = mesh().points
    cells = [("polygon", [np.array([0, 1, 6, 5])])]
    write_mesh_file(tmp_path / "a.vtu", meshio.Mesh(points, cells, {"p": points[:, 0]}))
    with pytest.raises(ValueError, match=r"a\.vtu has cells of the kind 'polygon4?'") as error:
        read(str(tmp_path))
    one_sentence(error, "with weights set to false")


@pytest.mark.parametrize("point", [16, -1])
def test_a_cell_without_its_points(tmp_path: Path, point: int) -> None:
    found = mesh()
    found.cells[0].data[2, 1] = point
    write_mesh_file(tmp_path / "a.vtu", found)
    with pytest.raises(ValueError, match=rf"a\.vtu has a triangle at point {point}") as error:
        read(str(tmp_path))
    one_sentence(error, "its points are 0 to 15")


def test_plane_and_solid_meshes_do_not_mix(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path, 3, inlet=False)
    lifted = mesh(3)
    lifted.points = lifted.points + np.array([0, 0, 1]) * lifted.points[:, :1]
    write_mesh_file(tmp_path / "case_1.vtu", lifted)
    with pytest.raises(ValueError, match=r"case_1\.vtu extends in x, y, z, .*case_0") as error:
        read(folder)
    one_sentence(error)


def test_a_target_that_one_file_lacks(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path, 3)
    other = mesh(2)
    del other.point_data["p"]
    write_mesh_file(tmp_path / "case_2.vtu", other)
    with pytest.raises(ValueError, match=r"case_2\.vtu has no target 'p'") as error:
        read(folder)
    one_sentence(error)


def test_an_input_function_that_one_sample_lacks(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path, 3)
    (tmp_path / "case_1.inlet.csv").unlink()
    with pytest.raises(ValueError, match=r"case_1\.vtu has the input functions none, others have"):
        read(folder)


def test_an_input_function_with_other_columns(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path, 3)
    (tmp_path / "case_1.inlet.csv").write_text("x,y,h\n0,0,1\n")
    with pytest.raises(ValueError, match=r"case_1\.vtu has no column of inlet 'g'"):
        read(folder)
    (tmp_path / "case_0.inlet.csv").write_text("x,g\n0,1\n")
    with pytest.raises(ValueError, match=r"case_0\.vtu has no column of inlet 'y'"):
        read(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,g\n0,0,fast\n", r"case_0\.inlet\.csv, line 2: g is 'fast', not a number"),
        ("x,y,g\n0,0\n", "line 2 has 2 fields, the header names 3"),
        ("x,y,x\n0,0,1\n", "names the column 'x' twice"),
        ("x,y,\n0,0,1\n", "has a column without a name"),
        ("x,y,g\n", r"case_0\.inlet\.csv is empty: an input function needs points"),
        ("", r"case_0\.inlet\.csv is empty"),
        ("x,y,g\n0,0,nan\n", "g is nan at index 0 of input function 'inlet'"),
    ],
)
def test_tables_of_input_functions(tmp_path: Path, text: str, message: str) -> None:
    folder = mesh_folder(tmp_path, 2)
    (tmp_path / "case_0.inlet.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read(folder)
    one_sentence(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,re\ncase_0,1\ncase_1,2\n", "needs a column 'sample' with the names"),
        ("sample,re\ncase_0,1\n", "has no row for the sample 'case_1'"),
        ("sample,re\ncase_0,1\ncase_1,2\ncase_0,3\n", "line 4: sample 'case_0' stands there twice"),
        ("sample,re\ncase_0,1\ncase_1,many\n", "line 3: re is 'many', not a number"),
    ],
)
def test_tables_of_parameters(tmp_path: Path, text: str, message: str) -> None:
    folder = mesh_folder(tmp_path, 2)
    (tmp_path / "parameters.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read(folder)
    one_sentence(error, "parameters.csv")


def test_boundaries_that_are_not_marked(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path, 2, inlet=False)
    with pytest.raises(ValueError, match="has no array 'sides' of markers; its arrays: p, veloc"):
        read(folder, markers="sides")
    with pytest.raises(ValueError, match="'heat' marks no boundary: it must be other than 0 on"):
        read(folder, markers="heat")  # of the triangles, not of their boundary
    with pytest.raises(ValueError, match="has no point data 'h', named in marker_values"):
        read(folder, markers="side", marker_values=("h",))
    with pytest.raises(ValueError, match="'p' must hold a few whole numbers, one per boundary"):
        read(folder, markers="p", targets=("velocity",))


def test_one_array_that_is_a_vectors_component(tmp_path: Path) -> None:
    found = mesh()
    found.point_data["velocity_x"] = found.points[:, 0]
    write_mesh_file(tmp_path / "a.vtu", found)
    with pytest.raises(ValueError, match="gives 'velocity_x' twice, as an array and as a compon"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<?xml version='1.0'?><VTKFile type='ImageData'></VTKFile>", r"no whole \.vtu file"),
        (None, r"a\.vtu is no whole \.vtu file"),
    ],
)
def test_files_that_are_no_whole_mesh(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = Path(write_mesh_file(tmp_path / "a.vtu", mesh()))
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(OSError, match=message) as error:
        read(str(path))
    one_sentence(error)


def test_a_mesh_without_data(tmp_path: Path) -> None:
    write_mesh_file(tmp_path / "a.vtu", mesh(point_data={}, cell_data={}))
    with pytest.raises(ValueError, match="has no data on its points: there is nothing to predict"):
        read(str(tmp_path))


def test_a_folder_without_meshes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\*\.vtu"):
        read(str(tmp_path / "*.vtu"))
    with pytest.raises(OSError, match="cannot open"):
        read(str(tmp_path))


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mesh_file(tmp_path / "a.vtu", mesh())
    monkeypatch.setitem(__import__("sys").modules, "meshio", None)
    with pytest.raises(ImportError, match=r'needs meshio: pip install "surform\[mesh\]"'):
        read(path)
