"""VTU files: targets on points and cells, weights, parameters, input functions."""

from __future__ import annotations

from pathlib import Path

import meshio
import numpy as np
import pytest

from surform.data.mesh_files import read_mesh
from surform.data.points_files import open_points
from surform.data.points_selection import PointsSelection
from tests.data.point_files import mesh, mesh_folder, write_mesh_file


def test_a_folder_of_meshes_with_what_lies_beside_them(tmp_path: Path) -> None:
    source = open_points(mesh_folder(tmp_path, 4))
    about = source.about
    assert len(source) == 4
    assert about.coordinates == ("x", "y")
    assert about.targets == ("p", "velocity_x", "velocity_y")  # a plane mesh has no velocity_z
    assert about.parameters == ("re",)
    assert about.inputs == {"inlet": ("x", "y", "g")}
    assert about.weighted == ("points",)
    found = source.read(2)
    stored = mesh(2)
    assert np.allclose(found.points, stored.points[:, :2])
    assert np.allclose(found.targets[:, 1], stored.point_data["velocity"][:, 0])
    assert found.parameters.tolist() == [3.0]
    assert found.inputs["inlet"][:, 0].tolist() == [0] * 5  # x, although y stands first in the file
    assert found.weights is not None
    assert found.weights.sum() == pytest.approx(1)  # the area of the square
    assert source.place(2) == str(tmp_path / "case_2.vtu")


def test_patterns_files_and_lists_are_the_same_samples(tmp_path: Path) -> None:
    folder = mesh_folder(tmp_path, 3)
    pattern = open_points(f"{folder}/*.vtu")
    listed = open_points([f"{folder}/case_{k}.vtu" for k in range(3)])
    assert pattern.paths() == listed.paths() == open_points(folder).paths()
    assert len(open_points(f"{folder}/case_1.vtu")) == 1
    assert len(open_points(mesh_folder(tmp_path / "run [1] of 2", 2))) == 2  # a name, no pattern


def test_names_with_dots_are_samples_unless_they_belong_to_one(tmp_path: Path) -> None:
    for name in ("re_0.5.vtu", "re_0.7.vtu"):
        write_mesh_file(tmp_path / name, mesh())
    write_mesh_file(tmp_path / "re_0.5.wall.vtu", mesh(1))
    write_mesh_file(tmp_path / "re_0.7.wall.vtu", mesh(2))
    source = open_points(str(tmp_path), PointsSelection(targets=("p",)))
    assert [Path(p).name for p in source.paths()] == ["re_0.5.vtu", "re_0.7.vtu"]
    columns = ("x", "y", "p", "velocity_x", "velocity_y", "velocity_z")
    assert source.about.inputs == {"wall": columns}


def test_targets_on_cells_lie_at_their_centers_and_weigh_their_area(tmp_path: Path) -> None:
    source = open_points(mesh_folder(tmp_path, 2), PointsSelection(targets=("heat",)))
    found, stored = source.read(1), mesh(1)
    triangles = stored.cells[0].data
    assert np.allclose(found.points, stored.points[triangles].mean(1)[:, :2])
    assert np.allclose(found.targets[:, 0], stored.cell_data["heat"][0])
    assert found.weights is not None
    assert found.weights.sum() == pytest.approx(1)
    assert source.about.reading["on"] == "cells"
    asked = PointsSelection(on="cells", targets=("heat", "side"))
    assert open_points(str(tmp_path), asked).about.targets == ("heat", "side")


def test_marked_boundaries_are_input_functions(tmp_path: Path) -> None:
    selection = PointsSelection(markers="side", marker_values=("p",), targets=("velocity",))
    source = open_points(mesh_folder(tmp_path, 3, inlet=False), selection)
    assert source.about.inputs == {"side_1": ("x", "y", "p"), "side_2": ("x", "y", "p")}
    assert source.about.weighted == ("points", "side_1", "side_2")
    found = source.read(0)
    assert not found.inputs["side_1"][:, 0].any()  # the left side: x = 0
    assert np.allclose(found.inputs["side_1"][:, 2], 10 + found.inputs["side_1"][:, 1])
    lengths = {name: weights.sum() for name, weights in found.input_weights.items()}
    assert lengths == pytest.approx({"side_1": 1, "side_2": 3})


def test_marks_on_points(tmp_path: Path) -> None:
    found = mesh()
    left = (found.points[:, 0] == 0).astype(int)
    marked = mesh(point_data={"p": found.points[:, 1], "left": left})
    write_mesh_file(tmp_path / "a.vtu", marked)
    source = open_points(str(tmp_path), PointsSelection(markers="left"))
    assert source.about.inputs == {"left_1": ("x", "y")}
    assert source.about.targets == ("p",)
    assert len(source.read(0).inputs["left_1"]) == left.sum()


def test_numbers_in_field_data_are_parameters(tmp_path: Path) -> None:
    path = write_mesh_file(tmp_path / "a.vtu", mesh())
    text = Path(path).read_text()
    fields = "<FieldData>" + "".join(
        f'<DataArray type="Float64" Name="{name}" NumberOfTuples="{len(values.split())}" '
        f'format="ascii">{values}</DataArray>'
        for name, values in {"re": "12.5", "force": "1 2 3", "TimeValue": "0"}.items()
    )
    Path(path).write_text(text.replace("<Piece", fields + "</FieldData><Piece"))
    source = open_points(path)
    assert source.about.parameters == ("re", "force_x", "force_y", "force_z")
    assert source.read(0).parameters.tolist() == [12.5, 1, 2, 3]


def test_data_that_are_given_at_the_points(tmp_path: Path) -> None:
    source = open_points(mesh_folder(tmp_path, 2), PointsSelection(features=("p",)))
    assert source.about.columns == ("x", "y", "p")
    assert source.about.targets == ("velocity_x", "velocity_y")
    assert np.allclose(source.read(1).points[:, 2], mesh(1).point_data["p"])


def test_solid_meshes_of_tetrahedra_and_hexahedra(tmp_path: Path) -> None:
    corners = np.array(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 2], [1, 0, 2], [1, 1, 2], [0, 1, 2]],
        float,
    )
    tetra = np.array(
        [[0, 1, 2, 6], [0, 2, 3, 6], [0, 3, 7, 6], [0, 7, 4, 6], [0, 4, 5, 6], [0, 5, 1, 6]]
    )
    for number, cells in enumerate((("tetra", tetra), ("hexahedron", np.arange(8)[None]))):
        solid = meshio.Mesh(corners, [cells], point_data={"t": corners[:, 2]})
        write_mesh_file(tmp_path / f"a_{number}.vtu", solid)
    source = open_points(str(tmp_path))
    assert source.about.coordinates == ("x", "y", "z")
    for found in source.read_all(range(2)):
        assert found.weights is not None
        assert found.weights.sum() == pytest.approx(2)


def test_a_plane_mesh_in_another_plane_has_its_own_coordinates(tmp_path: Path) -> None:
    upright = mesh()
    upright.points = upright.points[:, [0, 2, 1]]
    write_mesh_file(tmp_path / "a.vtu", upright)
    assert open_points(str(tmp_path), PointsSelection(targets=("p",))).about.coordinates == (
        "x",
        "z",
    )


def test_legacy_vtk_files_are_read(tmp_path: Path) -> None:
    meshio.vtk.write(str(tmp_path / "a.vtk"), mesh())
    found = open_points(str(tmp_path), PointsSelection(targets=("p",))).read(0)
    assert np.allclose(found.targets[:, 0], mesh().point_data["p"])


def test_data_at_points_are_read_without_weights_whatever_the_cells(tmp_path: Path) -> None:
    points, cells = mesh().points, [("polygon", [np.array([0, 1, 6, 5])])]
    data = {"point_data": {"p": points[:, 0]}, "cell_data": {"q": [np.ones(1)]}}
    write_mesh_file(tmp_path / "a.vtu", meshio.Mesh(points, cells, **data))
    for targets in (None, ("p",)):
        selection = PointsSelection(weights=False, targets=targets)
        found = open_points(str(tmp_path), selection).read(0)
        assert found.weights is None
        assert len(found.points) == len(points)


def test_a_mesh_file_knows_its_vectors(tmp_path: Path) -> None:
    found = read_mesh(write_mesh_file(tmp_path / "a.vtu", mesh()))
    assert found.vectors("points") == {"velocity": ("velocity_x", "velocity_y", "velocity_z")}
    assert len(found.positions("cells")) == len(found.columns("cells")["heat"])
