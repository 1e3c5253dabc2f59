"""Open jets in every layout that is read: generated, HLS4ML's, JetClass'; a file or many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from surform.data.faults import parsing, refuse_unreadable
from surform.data.fields import expand_paths
from surform.data.hdf5 import OpenHDF5
from surform.data.jets_file import JetFile
from surform.data.jets_generated import GeneratedFile, is_generated
from surform.data.jets_hls4ml import HLS4MLFile, is_hls4ml
from surform.data.jets_jetclass import JetClassFile, OpenROOT, is_jetclass
from surform.data.jets_source import JetSource
from surform.data.open_files import OpenFiles
from surform.data.splits import SPLITS

__all__ = ["open_jets"]

_KINDS = (".h5", ".hdf5", ".nc", ".root", ".zarr")
_BEGINNINGS = {"train": "train", "val": "validation", "test": "test"}
_OPEN = 32  # files at a time


def open_jets(
    path: str | Sequence[str],
    *,
    features: Sequence[str] | None = None,
    particles: int | None = None,
    labelled: bool = True,
) -> JetSource:
    """Jets in files; nothing but labels is read before it is needed.

    Args:
        path: a file, a pattern, a list of them, or a folder of files, perhaps below folders whose
            names begin with train, val and test.
        features: of particles, in the layout's own names; None: the layout's usual ones.
        particles: kept of a jet, those of the largest pT; None: as many as the files have.
        labelled: whether the jets must have classes.

    Raises:
        FileNotFoundError, OSError, ValueError: what is missing or wrong, and where.
    """
    named = expand_paths(path)
    name = named[0] if len(named) == 1 else f"{named[0]}, ... ({len(named)} paths)"
    divided = _divided(named[0]) if len(named) == 1 else {}
    found = divided or {"": [file for each in named for file in _files_of(each)]}
    hdf5, root = OpenFiles(OpenHDF5, _OPEN), OpenFiles(OpenROOT, _OPEN)
    files = []
    for file in (file for own in found.values() for file in own):
        with parsing(file):
            files.append(_open(file, hdf5, root, features))
    ends = [0, *accumulate(file.rows for file in files)]
    counts = [0, *accumulate(len(own) for own in found.values())]
    parts = {
        split: np.arange(ends[counts[place]], ends[counts[place + 1]])
        for place, split in enumerate(found)
    }
    most = _most(particles, files)
    return JetSource(name, files, most, parts if divided else {}, labelled)


def _divided(path: str) -> dict[str, list[str]]:
    """Files of each split where a folder has such folders."""
    folder = Path(path)
    if not folder.is_dir() or folder.suffix == ".zarr":
        return {}
    found: dict[str, list[str]] = {}
    for inner in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for beginning, split in _BEGINNINGS.items():
            if inner.name.lower().startswith(beginning) and inner.suffix != ".zarr":
                found.setdefault(split, []).extend(_files_of(str(inner)))
    return {split: found[split] for split in SPLITS if split in found}


def _files_of(path: str) -> list[str]:
    refuse_unreadable(path)
    folder = Path(path)
    if not folder.is_dir() or folder.suffix == ".zarr":
        return [path]
    files = sorted(str(entry) for entry in folder.iterdir() if entry.suffix in _KINDS)
    if not files:
        raise ValueError(f"the folder {path} holds no jets: no file ends in {', '.join(_KINDS)}")
    return files


def _open(path: str, hdf5: OpenFiles, root: OpenFiles, features: Sequence[str] | None) -> JetFile:
    suffix = Path(path).suffix.lower()
    if suffix not in _KINDS:
        raise ValueError(f"jets are read from {', '.join(_KINDS)}, not from {path}")
    refuse_unreadable(path)
    if suffix in (".zarr", ".nc"):
        return GeneratedFile(path, features)
    if suffix == ".root":
        if not is_jetclass(root[path]):
            raise ValueError(f"the tree of {path} has no branches part_px and part_py of JetClass")
        return JetClassFile(path, root, features)
    held = list(hdf5[path].file)  # type: ignore[attr-defined]
    if is_hls4ml(held):
        return HLS4MLFile(path, hdf5, features)
    if is_jetclass(held):
        return JetClassFile(path, hdf5, features)
    if is_generated(held):
        return GeneratedFile(path, features)
    raise ValueError(
        f"{path} is in no layout of jets: HLS4ML's has jetConstituentList, JetClass' part_px and "
        f"label_QCD, generated jets have pt, eta_rel and phi_rel; it holds {', '.join(held)}"
    )


def _most(particles: int | None, files: Sequence[JetFile]) -> int:
    if particles is not None:
        return particles
    widths = [file.width for file in files if file.width is not None]
    if len(widths) < len(files):
        raise ValueError(
            f"the jets of {files[0].path} are of any length: say how many particles are kept with "
            "data.particles"
        )
    return max(widths)
