"""Predictions on meshes from files into files of the same format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from surform.data.atomic import refuse_folder, replacing
from surform.data.fields import expand_paths
from surform.data.mesh_files import MESHES, read_mesh
from surform.data.mesh_write import write_mesh
from surform.data.outputs import check_output, check_store
from surform.data.points import PointSample
from surform.data.points_files import open_points
from surform.data.points_mesh import MeshPoints
from surform.data.points_write import write_points
from surform.data.solvers.progress import progress_bar
from surform.hub.pretrained import Pretrained
from surform.operators.labelled_points import described, predictions, selection_of

__all__ = ["predict_file"]

_MADE_BY = "surform predict"
_NOTE = "surform.json"
_STORES = (".zarr", ".h5", ".hdf5", ".nc")


def predict_file(
    model: Pretrained,
    source: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    batch_size: int = 4,
    chunk: int | None = None,
) -> Path:
    """Predict the targets of all samples of some files; all or nothing is written.

    Args:
        source: what `open_points` reads, a path, pattern or list; targets may be missing.
        out: of a mesh file a file of the same kind, of several a folder of files with their names:
            the same meshes with the predictions on them. Of other sources `.zarr`, `.h5`,
            `.hdf5` or `.nc`: the same samples with predicted targets.
        batch_size: samples in one call of the network.
        chunk: query points that go through the network at a time; fewer need less memory.

    Raises:
        ValueError: data that do not suit the model, another kind of file, or `out` would replace
            what is not a set of predictions.
    """
    about = described(model)
    selection = selection_of(model)
    path = Path(out)
    if not about.reading.get("named_coordinates", True):
        selection = replace(selection, coordinates=None)
    data = open_points(source, selection)
    about.require_match(data.about, data.name)
    if isinstance(data, MeshPoints):
        _check_mesh_output(path, data, source)
    elif path.suffix not in _STORES:
        raise ValueError(f"predictions are written to one of {', '.join(_STORES)}, not to {path}")
    elif path.suffix == ".zarr":
        check_store(path, data.paths(), _MADE_BY, "a set of predictions")
    else:
        check_output(path, data.paths())
        refuse_folder(path, "--out")
    with progress_bar(f"predicting {data.name}") as progress:
        found = _counted(predictions(model, data, batch_size, chunk), len(data), progress)
        if isinstance(data, MeshPoints):
            _write_meshes(path, data, about.targets, found, _provenance(model, source))
        else:
            samples = (replace(sample, targets=values) for sample, values in found)
            described_as = replace(
                data.about, targets=about.targets, units={**about.units, **data.about.units}
            )
            write_points(path, samples, described_as, _provenance(model, source))
    return path


def _counted(
    found: Iterator[tuple[PointSample, Any]], total: int, progress: Any
) -> Iterator[tuple[PointSample, Any]]:
    for number, pair in enumerate(found, start=1):
        yield pair
        progress(number / total)


def _check_mesh_output(path: Path, data: MeshPoints, source: str | Sequence[str]) -> None:
    """ValueError or FileExistsError unless meshes may be written there."""
    check_output(path, data.paths())
    if _one_file(data, source):
        suffix = data.files[0].suffix
        if path.suffix != suffix:
            raise ValueError(f"predictions for {source} are written to a {suffix} file, not {path}")
        refuse_folder(path, "--out")
        return
    names = [file.name for file in data.files]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise ValueError(f"two of the mesh files are called {twice[0]}: predict them one by one")
    if path.suffix in (*MESHES, *_STORES):
        raise ValueError(
            f"predictions for {len(names)} mesh files are written to a folder of such files, not "
            f"to {path}"
        )
    if path.exists() and not (path / _NOTE).is_file():
        raise FileExistsError(
            f"{path} exists and is not a set of predictions: choose another name, or remove it"
        )


def _one_file(data: MeshPoints, source: str | Sequence[str]) -> bool:
    return expand_paths(source) == [str(data.files[0])]


def _write_meshes(
    path: Path,
    data: MeshPoints,
    names: Sequence[str],
    found: Iterator[tuple[PointSample, Any]],
    note: dict[str, str],
) -> None:
    with replacing(path) as partial:
        one = path.suffix in MESHES
        if not one:
            partial.mkdir()
        for number, (_, values) in enumerate(found):
            mesh = read_mesh(data.files[number])
            target = partial if one else partial / mesh.path.name
            write_mesh(target, mesh.path.suffix, mesh, data.on, names, values)
        if not one:
            (partial / _NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def _provenance(model: Pretrained, source: str | Sequence[str]) -> dict[str, str]:
    from surform import __version__

    return {
        "made_by": _MADE_BY,
        "title": f"predictions of {type(model.net).__name__}",
        "surform_version": __version__,
        "data": str(source),
    }
