"""Small samples on meshes, and files of them, for the tests of points."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import meshio
import numpy as np

from surform.data.points import PointSample
from surform.data.points_description import PointsDescription
from surform.data.points_write import write_points

ABOUT = PointsDescription(
    coordinates=("x", "y"),
    targets=("u", "p"),
    parameters=("re",),
    inputs={"inlet": ("x", "y", "v"), "wall": ("x", "y")},
    units={"x": "m", "y": "m", "u": "m s-1", "p": "Pa", "inlet_v": "m s-1"},
)


def sample(number: int, size: int = 0, **changes: Any) -> PointSample:
    """A sample of its own length; every number in it depends on `number`."""
    draw = np.random.default_rng(number)
    n = size or 5 + 3 * (number % 4) + number
    xy = draw.random((n, 2))
    re = 1.0 + number
    inlet = np.concatenate([draw.random((3 + number % 2, 2)), draw.random((3 + number % 2, 1))], 1)
    values: dict[str, Any] = {
        "points": xy,
        "targets": np.stack([re * xy[:, 0] + inlet[:, 2].mean(), 10 + xy[:, 1]], axis=-1),
        "parameters": np.array([re]),
        "inputs": {"inlet": inlet, "wall": draw.random((4, 2))},
        "weights": draw.random(n) + 0.1,
        "input_weights": {"inlet": np.ones(len(inlet))},
    }
    return PointSample(**(values | changes))


def samples(count: int = 6) -> list[PointSample]:
    return [sample(number) for number in range(count)]


def store(path: Path, found: Iterable[PointSample] | None = None) -> str:
    """A file of samples; returns its path."""
    chosen = samples() if found is None else found
    return str(write_points(path, chosen, ABOUT, {"solver": "none", "seed": 3}))


def grid_mesh(nx: int = 4, ny: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The unit square in triangles: points `(N, 2)`, triangles, and the lines of its boundary."""
    draw = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, nx + 1), np.linspace(0, 1, ny + 1), indexing="ij")
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    x, y = (v + inside * 0.1 / max(nx, ny) * draw.standard_normal(v.shape) for v in (x, y))
    number = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (
        n.ravel() for n in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:])
    )
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    rims = (number[:, 0], number[-1, :], number[::-1, -1], number[0, ::-1])
    lines = np.concatenate([np.stack([rim[:-1], rim[1:]], 1) for rim in rims])
    return np.stack([x.ravel(), y.ravel()], axis=-1), triangles, lines


def mesh(number: int = 0, **changes: Any) -> meshio.Mesh:
    """A plane mesh with p, the vector velocity, a number re, and marks on its left side."""
    points, triangles, lines = grid_mesh(3 + number % 3, 3, number)
    re = 1.0 + number
    left = (points[lines][..., 0] == 0).all(1)
    values: dict[str, Any] = {
        "points": np.pad(points, ((0, 0), (0, 1))),
        "cells": [("triangle", triangles), ("line", lines)],
        "point_data": {
            "p": 10 + points[:, 1],
            "velocity": np.stack([re * points[:, 0], points[:, 1], 0 * points[:, 0]], -1),
        },
        "cell_data": {
            "heat": [points[triangles].mean(1)[:, 0] * re, np.zeros(len(lines))],
            "side": [np.zeros(len(triangles)), 1.0 * left + 2.0 * ~left],
        },
    }
    return meshio.Mesh(**(values | changes))


def write_mesh_file(path: Path, found: meshio.Mesh) -> str:
    meshio.vtu.write(str(path), found)
    return str(path)


def mesh_folder(folder: Path, count: int = 8, inlet: bool = True, table: bool = True) -> str:
    """`case_0.vtu`, ... with `case_0.inlet.csv`, ... and `parameters.csv`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_mesh_file(folder / f"case_{number}.vtu", mesh(number))
        if inlet:
            rows = [
                f"{y:.2f},0,{np.sin(3 * y) + number}" for y in np.linspace(0, 1, 5 + number % 2)
            ]
            (folder / f"case_{number}.inlet.csv").write_text("y,x,g\n" + "\n".join(rows) + "\n")
    if table:
        rows = [f"case_{number}.vtu,{1.0 + number}" for number in range(count)]
        (folder / "parameters.csv").write_text("sample,re\n" + "\n".join(rows) + "\n")
    return str(folder)
