"""Runs as files: extended XYZ, netCDF-4/HDF5 that xarray opens, and a log of energies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from surform.atomistic.course import Course
from surform.data.atomic import replacing

__all__ = ["LOG", "SUFFIXES", "log_line", "write_course", "write_log"]

SUFFIXES = (".extxyz", ".xyz", ".h5", ".nc")
_CHUNK = 64  # frames
LOG = "step,time_ps,potential_eV,kinetic_eV,total_eV,temperature_K"


def write_course(path: str | os.PathLike[str], course: Course) -> Path:
    """Write all frames under the suffix of `path`, all or nothing; returns it.

    In `.h5` and `.nc` the dimensions are (time, atom, xyz), and variables say their units:
    `xarray.open_dataset(path, engine="h5netcdf")`. `data: atoms` trains on either kind.
    """
    with replacing(path) as partial:
        if Path(path).suffix in (".h5", ".nc"):
            _write_arrays(partial, course)
        else:
            _write_extxyz(partial, course)
    return Path(path)


def write_log(path: str | os.PathLike[str], course: Course) -> Path:
    """One line of CSV for each frame, all or nothing."""
    rows = zip(
        course.frames["step"], course.time, course.potential, course.kinetic, course.temperature,
        strict=True,
    )  # fmt: skip
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(LOG + "\n")
        for step, time, potential, kinetic, temperature in rows:
            file.write(log_line(int(step), float(time), potential, kinetic, temperature) + "\n")
    return Path(path)


def log_line(step: int, time: float, potential: float, kinetic: float, temperature: float) -> str:
    """As `LOG` names the columns."""
    total = potential + kinetic
    return f"{step},{time:.6g},{potential:.8f},{kinetic:.8f},{total:.8f},{temperature:.4f}"


def _write_extxyz(path: Path, course: Course) -> None:
    from ase.io import write

    with open(path, "w", encoding="utf-8") as file:
        for atoms in course.structures():
            write(file, atoms, format="extxyz")


def _write_arrays(path: Path, course: Course) -> None:
    import h5netcdf
    from ase import units

    frames, atoms = course.frames, course.atoms
    masses = atoms.get_masses()
    with h5netcdf.File(path, "w") as file:
        file.attrs.update(_attributes(atoms))
        file.dimensions = {"time": len(frames), "atom": len(atoms), "xyz": 3, "lattice": 3}
        moving, vectors = ("time",), ("time", "atom", "xyz")
        one: dict[str, tuple[tuple[str, ...], Any, str, str]] = {
            "time": (moving, course.time * 1000, "fs", "time"),
            "xyz": (("xyz",), np.array([b"x", b"y", b"z"]), "", "Cartesian component"),
            "numbers": (("atom",), atoms.numbers.astype(np.int64), "1", "atomic number"),
            "masses": (("atom",), masses, "u", "mass of the atom"),
            "cell": (("lattice", "xyz"), atoms.cell.array, "angstrom", "lattice vectors"),
            "pbc": (("lattice",), atoms.pbc.astype(np.int8), "1", "whether the axis is periodic"),
            "energy": (moving, course.potential, "eV", "potential energy"),
            "kinetic_energy": (moving, course.kinetic, "eV", "kinetic energy"),
            "temperature": (moving, course.temperature, "K", "kinetic temperature"),
        }
        for name, (dimensions, values, unit, text) in one.items():
            variable = file.create_variable(name, dimensions, data=values)
            variable.attrs.update({"long_name": text} | ({"units": unit} if unit else {}))
        many = {
            "positions": ("angstrom", "positions of the atoms, not wrapped into the cell"),
            "velocities": ("angstrom fs-1", "velocities of the atoms"),
            "forces": ("eV angstrom-1", "forces on the atoms, those that are held included"),
        }
        for name, (unit, text) in many.items():
            variable = file.create_variable(name, vectors, dtype=np.float64)
            variable.attrs.update({"long_name": text, "units": unit})
            for first in range(0, len(frames), _CHUNK):
                own = frames[first : first + _CHUNK]
                if name == "velocities":
                    values = own["momenta"] / masses[:, None] * units.fs
                else:
                    values = own[name]
                variable[first : first + _CHUNK] = values


def _attributes(atoms: Any) -> dict[str, str]:
    from surform import __version__

    return {
        "Conventions": "CF-1.10",
        "title": f"molecular dynamics of {atoms.get_chemical_formula()}",
        "source": f"surform {__version__}",
        "made_by": "surform md",
    }
