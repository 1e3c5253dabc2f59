"""Energies and forces of the structures in files, into a file that can be read like data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surform.atomistic.equiformer_v2 import Energies
from surform.atomistic.label_files import write_hdf5, write_xyz
from surform.data.atomic import refuse_folder, replacing
from surform.data.atoms_batch import Graph, collate
from surform.data.atoms_files import open_atoms
from surform.data.atoms_source import AtomsReading, AtomsSource
from surform.data.atoms_structure import Structure
from surform.data.atoms_units import Units
from surform.data.elements import symbols
from surform.data.outputs import check_output
from surform.data.solvers.progress import progress_bar
from surform.layers.checks import at_least

if TYPE_CHECKING:
    from surform.atomistic.potential import Potential

__all__ = ["graph_of", "predict", "predict_file"]

# of the arrays that are no labels: predictions need none
_PLACES = ("numbers", "positions", "cell", "pbc", "ptr", "free", "fixed")


def graph_of(model: Potential) -> Graph:
    """Which neighbours the network wants."""
    net: Any = model.net
    return Graph(net.cutoff, net.max_neighbors, model.tolerant)


def predict_file(
    model: Potential,
    source: str,
    out: str | os.PathLike[str],
    *,
    batch_size: int = 32,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Path:
    """Structures with the energies, forces and stresses of a potential, in eV and Å.

    Args:
        source: as for `surform.data.atoms_files.open_atoms`: extended XYZ, an ASE database, HDF5.
        out: .extxyz or .xyz, or .h5 or .hdf5: ptr, numbers, positions, energy, forces, ...
        batch_size: structures in one call of the network.
        keys, units: what arrays are called, and in which units, as for the data of training.

    Raises:
        ValueError: another kind of file, structures that cannot be read, or elements that the
            network does not know.
    """
    at_least(1, batch_size=batch_size)
    path = Path(out)
    writers = {".extxyz": write_xyz, ".xyz": write_xyz, ".h5": write_hdf5, ".hdf5": write_hdf5}
    if path.suffix not in writers:
        raise ValueError(f"structures are written to a file {', '.join(writers)}, not to {path}")
    check_output(path, [source])
    refuse_folder(path, "--out")
    places = {name: key for name, key in (keys or {}).items() if name in _PLACES}
    read = open_atoms(source, AtomsReading(places, Units.of(units)))
    with replacing(path) as partial, progress_bar(f"predicting {len(read)} structures") as progress:
        done = predict(model, read, batch_size)
        writers[path.suffix](partial, _counted(done, len(read), progress))
    return path


def predict(model: Potential, source: AtomsSource, batch_size: int = 32) -> Iterator[Structure]:
    """The structures of a source with what the potential gives them as labels."""
    model.eval()
    device = model.energy.mean.device
    graph = graph_of(model)
    for start in range(0, len(source), batch_size):
        numbers = range(start, min(start + batch_size, len(source)))
        structures = [source.read(number) for number in numbers]
        _require_known(model, structures)
        batch = collate(structures, graph).to(device)
        with torch.no_grad():
            found = model.of_batch(batch)
        yield from _labelled(structures, found)


def _labelled(structures: list[Structure], found: Energies) -> Iterator[Structure]:
    """Structures with the labels of a batch."""
    first = 0
    for number, structure in enumerate(structures):
        own = slice(first, first + len(structure))
        first += len(structure)
        made: dict[str, Any] = {"energy": float(found.energy[number])}
        made["forces"] = structure.forces * float("nan")
        if found.forces is not None:
            made["forces"] = found.forces[own].double().cpu().numpy()
        made["stress"] = _stress(structure, found, number)
        yield replace(structure, **made)


def _stress(structure: Structure, found: Energies, number: int) -> np.ndarray:
    """That of structure `number` of a batch; NaN where it has none."""
    if structure.pbc.all() and found.stress is not None:
        return found.stress[number].double().cpu().numpy()
    if structure.pbc.all() and found.virial is not None:
        volume = abs(float(np.linalg.det(structure.cell)))
        return found.virial[number].double().cpu().numpy() / volume
    return np.full((3, 3), np.nan)


def _require_known(model: Potential, structures: list[Structure]) -> None:
    """ValueError for an element that the model was not trained on."""
    about = model.description
    if about is None:
        return
    for structure in structures:
        strange = [
            s for s in symbols(np.unique(structure.numbers).tolist()) if s not in about.elements
        ]
        if strange:
            raise ValueError(
                f"{structure.where} has {', '.join(strange)}, but the model was trained on "
                f"{', '.join(about.elements)} only"
            )


def _counted(structures: Iterator[Structure], count: int, progress: Any) -> Iterator[Structure]:
    for number, structure in enumerate(structures):
        yield structure
        progress((number + 1) / count)
