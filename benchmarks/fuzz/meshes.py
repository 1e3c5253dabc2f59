"""Samples on meshes: our own stores, VTU and VTK, plain pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from benchmarks.fuzz.formats import Format
from surform.data.points_module import PointsData
from tests.data.point_files import mesh, mesh_folder, samples, store

__all__ = ["FORMATS"]


def _zarr(folder: Path) -> Path:
    return Path(store(folder / "cases.zarr"))


def _netcdf(folder: Path) -> Path:
    return Path(store(folder / "cases.nc"))


def _vtu(folder: Path) -> Path:
    return Path(mesh_folder(folder / "cases", 4))


def _vtk(folder: Path) -> Path:
    import meshio

    place = folder / "cases"
    place.mkdir()
    for number in range(4):
        meshio.vtk.write(str(place / f"case_{number}.vtk"), mesh(number), binary=number > 1)
    return place


def _pickle(folder: Path) -> Path:
    found = [
        [s.points.astype(np.float32), s.targets, s.parameters, tuple(s.inputs.values())]
        for s in samples(4)
    ]
    (folder / "cases.pkl").write_bytes(pickle.dumps(found, protocol=4))
    return folder / "cases.pkl"


def _read(path: Path) -> None:
    data = PointsData(str(path), split={"train": 1})
    data.description()
    data.normalizers()
    chosen = data.samples("train")
    chosen[list(range(len(chosen)))]


def _read_meshes(path: Path) -> None:
    data = PointsData(str(path), targets=["p", "velocity"], split={"train": 1})
    data.description()
    data.normalizers()
    chosen = data.samples("train")
    chosen[list(range(len(chosen)))]


_WORDS = ("u", "p", "re", "inlet", "wall")
FORMATS = {
    "points-zarr": Format(_zarr, _read, _WORDS),
    "points-netcdf": Format(_netcdf, _read, _WORDS),
    "points-pickle": Format(_pickle, _read),
    "meshes-vtu": Format(_vtu, _read_meshes, ("p", "velocity", "heat", "side", "re")),
    "meshes-vtk": Format(_vtk, _read_meshes, ("p", "velocity", "heat", "side")),
}
