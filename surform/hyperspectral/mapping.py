"""The map of a whole scene, tile by tile: memory depends on the tile, the result does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.data.atomic import refuse_folder, replacing
from surform.data.extras import require_extra
from surform.data.outputs import check_output
from surform.data.scenes_cube import Cube
from surform.data.scenes_description import ScenesDescription
from surform.data.scenes_open import open_scene
from surform.data.solvers.progress import progress_bar
from surform.layers.evaluating import evaluating

if TYPE_CHECKING:
    import xarray as xr

    from surform.hyperspectral.classifier import SceneClassifier

__all__ = ["classify", "predict", "predict_file"]

_TIFF = (".tif", ".tiff")
_KINDS = (".nc", ".npy", *_TIFF)
_CLASS = "number of the class, from 1; 0 where there is no spectrum"


def predict(
    model: SceneClassifier,
    source: Any,
    *,
    tile: int = 128,
    batch_size: int = 64,
    cube_name: str | None = None,
    sample: int = 0,
) -> xr.Dataset:
    """The most probable class of each pixel, `class` (0: no spectrum), and its `probability`.

    Args:
        source: what `surform.data.scenes_open.open_scene` reads, or an array.
        tile: side of the tiles that are read at once [pixels].
        batch_size: pixels in one call of the network.
        cube_name: of the array, where a file has several.
        sample: which scene of a file with several.

    Raises:
        ValueError: a scene that the model was not trained for, or a model that does not know what
            it was trained on.
    """
    import xarray as xr

    cube, about = _opened(model, source, cube_name, sample)
    found = np.zeros(cube.shape[:2], np.uint16)
    chance = np.full(cube.shape[:2], np.nan, np.float32)
    for rows, columns, numbers, best in _tiles(model, cube, about, tile, batch_size):
        found[rows, columns], chance[rows, columns] = numbers, best
    axes = ("row", "column")
    return xr.Dataset(
        {
            "class": (axes, found, {"long_name": _CLASS, **_flags(about)}),
            "probability": (axes, chance, {"long_name": "probability of the class"}),
        }
    )


def predict_file(
    model: SceneClassifier,
    source: str,
    out: str | os.PathLike[str],
    *,
    tile: int = 128,
    batch_size: int = 64,
    cube_name: str | None = None,
    sample: int = 0,
) -> Path:
    """`predict` from a file into `.nc`, `.npy` (classes alone) or `.tif`, all or nothing.

    Only a tile and its map are in memory. A GeoTIFF of a GeoTIFF keeps its place on earth.
    """
    path = Path(out)
    if path.suffix.lower() not in _KINDS:
        raise ValueError(f"maps are written to one of {', '.join(_KINDS)}, not to {path}")
    check_output(path, [source])
    refuse_folder(path, "--out")
    cube, about = _opened(model, source, cube_name, sample)
    make = {".nc": _netcdf, ".npy": _numpy}.get(path.suffix.lower(), _tiff)
    with replacing(path) as partial, make(partial, cube, about, source) as write:
        for rows, columns, numbers, best in _tiles(model, cube, about, tile, batch_size):
            write(rows, columns, numbers, best)
    return path


def classify(
    model: SceneClassifier, cube: Cube, pixels: np.ndarray, batch_size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Classes, from 1, and probabilities of pixels (n, 2) within one block of the scene.

    All calls of the network have one shape, so that a pixel's numbers do not depend on the others.
    """
    about = model.described()
    low, high = pixels.min(0), pixels.max(0) + 1
    windows = cube.windows((low[0], high[0]), (low[1], high[1]), about.bands, about.window)
    weight = next(model.parameters())
    numbers, best = np.zeros(len(pixels), np.uint16), np.zeros(len(pixels), np.float32)
    with evaluating(model):
        for start in range(0, len(pixels), batch_size):
            own = np.arange(start, start + batch_size).clip(max=len(pixels) - 1)
            patches = torch.from_numpy(windows.at(pixels[own])).to(weight.device)
            with torch.inference_mode():
                chance, found = model.probabilities(patches).max(-1)
            rest = min(batch_size, len(pixels) - start)
            numbers[start : start + rest] = found.cpu().numpy()[:rest] + 1
            best[start : start + rest] = chance.cpu().numpy()[:rest]
    return numbers, best


def _tiles(
    model: SceneClassifier, cube: Cube, about: ScenesDescription, tile: int, batch_size: int
) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Rows, columns, classes and probabilities of each tile; 0 and NaN without a spectrum."""
    for name, value in (("tile", tile), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    starts = [
        (row, column)
        for row in range(0, cube.shape[0], tile)
        for column in range(0, cube.shape[1], tile)
    ]
    none = np.ones(len(about.bands), dtype=bool)  # bands without any number
    some = False
    with progress_bar(f"mapping {cube.name}") as progress:
        for done, (row, column) in enumerate(starts, start=1):
            rows = slice(row, min(row + tile, cube.shape[0]))
            columns = slice(column, min(column + tile, cube.shape[1]))
            missing = np.isnan(cube.read(rows, columns, about.bands))
            whole, none = ~missing.any(-1), none & missing.all((0, 1))
            some |= bool(whole.any())
            numbers, best = np.zeros(whole.shape, np.uint16), np.full(whole.shape, np.nan, "f4")
            if whole.any():
                pixels = np.argwhere(whole) + (row, column)
                numbers[whole], best[whole] = classify(model, cube, pixels, batch_size)
            yield rows, columns, numbers, best
            progress(done / len(starts))
    if not some:
        empty = f": band {about.bands[int(none.argmax())]} has none" if none.any() else ""
        raise ValueError(
            f"no pixel of {cube.name} has a number in all {len(about.bands)} bands of the model"
            f"{empty}"
        )


def _opened(
    model: SceneClassifier, source: Any, cube_name: str | None, sample: int
) -> tuple[Cube, ScenesDescription]:
    about, cube = model.described(), open_scene(source, cube_name, sample)
    if cube.shape[2] != about.all_bands:
        raise ValueError(
            f"the model was trained on scenes of {about.all_bands} bands, {cube.name} has "
            f"{cube.shape[2]}"
        )
    mine, theirs = np.array(about.wavelengths), np.array(cube.wavelengths)
    if len(mine) and len(theirs):
        off = np.abs(theirs[list(about.bands)] - mine)
        if off.max() > 0.5 * np.diff(np.sort(mine)).max(initial=1.0):
            place = int(off.argmax())
            raise ValueError(
                f"the model was trained with band {about.bands[place]} at {mine[place]:g} nm, "
                f"{cube.name} has it at {theirs[about.bands[place]]:g} nm"
            )
    return cube, about


def _flags(about: ScenesDescription) -> dict[str, Any]:
    """The names of the classes after the CF conventions."""
    names = " ".join(name.replace(" ", "_") for name in about.classes)
    return {"flag_values": np.arange(1, len(about.classes) + 1, dtype="u2"), "flag_meanings": names}


@contextmanager
def _netcdf(path: Path, cube: Cube, about: ScenesDescription, source: str) -> Iterator[Any]:
    import h5netcdf

    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"row": cube.shape[0], "column": cube.shape[1]}
        axes = ("row", "column")
        classes = file.create_variable("class", axes, "u2", fillvalue=0)
        chances = file.create_variable("probability", axes, "f4", fillvalue=np.nan)
        classes.attrs.update({"long_name": _CLASS} | _flags(about))
        chances.attrs["long_name"] = "probability of the class"

        def write(rows: slice, columns: slice, numbers: np.ndarray, best: np.ndarray) -> None:
            classes[rows, columns], chances[rows, columns] = numbers, best

        yield write


@contextmanager
def _numpy(path: Path, cube: Cube, about: ScenesDescription, source: str) -> Iterator[Any]:
    found = np.lib.format.open_memmap(path, "w+", np.uint16, cube.shape[:2])

    def write(rows: slice, columns: slice, numbers: np.ndarray, best: np.ndarray) -> None:
        found[rows, columns] = numbers

    yield write
    found.flush()


@contextmanager
def _tiff(path: Path, cube: Cube, about: ScenesDescription, source: str) -> Iterator[Any]:
    rasterio = require_extra("rasterio", "scenes", "writing GeoTIFF")
    place: dict[str, Any] = {}
    if Path(source).suffix.lower() in _TIFF:
        with rasterio.open(source) as file:
            place = {"crs": file.crs, "transform": file.transform}
    shape = {"height": cube.shape[0], "width": cube.shape[1], "count": 1, "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", dtype="uint16", **shape, **place) as file:
        file.update_tags(classes=", ".join(about.classes))

        def write(rows: slice, columns: slice, numbers: np.ndarray, best: np.ndarray) -> None:
            spans = ((rows.start, rows.stop), (columns.start, columns.stop))
            file.write(numbers, 1, window=spans)

        yield write
