"""Files of points with something wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import zarr

from surform.data.points import PointSample
from surform.data.points_files import open_points
from surform.data.points_selection import PointsSelection
from tests.data.point_files import store


def read(path: Any, **selection: Any) -> list[PointSample]:
    source = open_points(path, PointsSelection(**selection))
    return list(source.read_all(range(len(source))))


def one_sentence(error: pytest.ExceptionInfo[BaseException], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    for word in words:
        assert word in text, text


# -- stores ----------------------------------------------------------------------------------


def changed(tmp_path: Path, change: Callable[[zarr.Group], None]) -> str:
    path = store(tmp_path / "a.zarr")
    change(zarr.open_group(path, mode="a"))
    import shutil

    for name in ("zarr.json",):
        assert (tmp_path / "a.zarr" / name).exists()
    data = xr.open_zarr(path, consolidated=False).load()
    shutil.rmtree(path)
    data.to_zarr(path, zarr_format=3, consolidated=False)
    return path


def poke(name: str, index: int, value: float) -> Callable[[zarr.Group], None]:
    def change(group: zarr.Group) -> None:
        group[name][index] = value  # type: ignore[index]

    return change
