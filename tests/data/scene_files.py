"""Small hyperspectral scenes, in memory and in files of every kind that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BANDS", "WAVES", "envi", "labelled", "scene"]

BANDS = 7
WAVES = tuple(400.0 + 50 * band for band in range(BANDS))


def scene(rows: int = 30, columns: int = 24, classes: int = 3, noise: float = 0.05) -> Any:
    """(cube, labels): stripes of classes with spectra of their own; a corner is unlabelled."""
    generator = np.random.default_rng(0)
    labels = np.add.outer(np.arange(rows), np.arange(columns)) // 4 % classes + 1
    labels[:2, :2] = 0
    spectra = generator.uniform(0.2, 1.0, (classes + 1, BANDS))
    cube = spectra[labels] + noise * generator.standard_normal((rows, columns, BANDS))
    return cube.astype(np.float32), labels.astype(np.uint8)


def labelled(path: Path, cube: np.ndarray, labels: np.ndarray) -> Path:
    """Both in one file, by its ending."""
    if path.suffix == ".mat":
        from scipy.io import savemat

        savemat(path, {"cube": cube, "gt": labels})
    elif path.suffix == ".npz":
        np.savez(path, cube=cube, labels=labels)
    else:
        import xarray as xr

        axes = ("row", "column", "wavelength")
        data = {
            "cube": (("sample", *axes), cube[None]),
            "labels": (("sample", *axes[:2]), labels[None]),
        }
        dataset = xr.Dataset(data, coords={"wavelength": list(WAVES[: cube.shape[2]])})
        if path.suffix == ".zarr":
            dataset.to_zarr(path, consolidated=False)
        else:
            dataset.to_netcdf(path, engine="h5netcdf")
    return path


def envi(path: Path, cube: np.ndarray, interleave: str = "bsq", **fields: str) -> Path:
    """`path`.hdr and its numbers `path`.img; `fields` replace lines of the header."""
    axes = {"bil": (0, 2, 1), "bip": (0, 1, 2)}.get(interleave, (2, 0, 1))
    codes = {"uint8": 1, "int16": 2, "float32": 4, "float64": 5, "uint16": 12}
    given = {
        "samples": cube.shape[1], "lines": cube.shape[0], "bands": cube.shape[2],
        "header offset": 0, "data type": codes[cube.dtype.name], "interleave": interleave,
        "byte order": int(cube.dtype.byteorder == ">"),
    }  # fmt: skip
    path.with_suffix(".img").write_bytes(np.ascontiguousarray(cube.transpose(axes)).tobytes())
    lines = [f"{name} = {value}" for name, value in (given | fields).items()]
    header = path.with_suffix(".hdr")
    header.write_text("\n".join(["ENVI", "description = { made", "for tests }", *lines]) + "\n")
    return header
