"""Jets of JetClass: Qu et al., "Particle Transformer for Jet Tagging", 2022 (arXiv 2202.03772).

The branches of its ROOT files, or arrays of the same names, padded with zeros, in HDF5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from surform.data.extras import require_extra
from surform.data.faults import first_line
from surform.data.jets_file import JetFile, chosen_features, class_numbers, require_numbers
from surform.data.open_files import OpenFiles

__all__ = ["JetClassFile", "OpenROOT", "is_jetclass"]

_LABELS = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
_DEFAULT = ("pt_log", "e_log", "logptrel", "logerel", "deltaR", "deta", "dphi")
_TREE = "tree"
_AXES = ("jets", "particles")

Columns = Mapping[str, np.ndarray]


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, 1e-8))


def _pt(c: Columns) -> np.ndarray:
    return np.hypot(c["part_px"], c["part_py"])


# what is made of branches: name -> (branches, function)
_MADE: dict[str, tuple[tuple[str, ...], Callable[[Columns], np.ndarray]]] = {
    "pt": (("part_px", "part_py"), _pt),
    "pt_log": (("part_px", "part_py"), lambda c: _log(_pt(c))),
    "e_log": (("part_energy",), lambda c: _log(c["part_energy"])),
    "logptrel": (
        ("part_px", "part_py", "jet_pt"),
        lambda c: _log(_pt(c) / c["jet_pt"][:, None]),
    ),
    "logerel": (
        ("part_energy", "jet_energy"),
        lambda c: _log(c["part_energy"] / c["jet_energy"][:, None]),
    ),
    "deltaR": (("part_deta", "part_dphi"), lambda c: np.hypot(c["part_deta"], c["part_dphi"])),
}


class OpenROOT(dict[str, Any]):
    """The tree of an open ROOT file: {branch: branch}."""

    def __init__(self, path: str) -> None:
        uproot = require_extra("uproot", "particles", "reading ROOT files")
        try:
            file = uproot.open(path)
        except Exception as error:  # uproot has many kinds
            raise OSError(f"cannot read {path}: {first_line(error)}") from error
        if _TREE not in file:
            held = ", ".join(str(key) for key in file.keys()) or "nothing"  # noqa: SIM118
            raise ValueError(f"{path} has no tree called {_TREE!r}: it holds {held}")
        self.tree = file[_TREE]
        super().__init__(self.tree.items())


def is_jetclass(file: Iterable[str]) -> bool:
    """Whether a file has this layout."""
    return {"part_px", "part_py"} <= set(file)


class JetClassFile(JetFile):
    """Branches part_* of particles, jet_* and label_* of jets.

    Args:
        features: branches without "part_", or pt, pt_log, e_log, logptrel, logerel and deltaR,
            which are made from them; by default the kinematic ones of the paper.
    """

    classes = _LABELS

    def __init__(self, path: str, files: OpenFiles, features: Sequence[str] | None) -> None:
        self.path, self._files = path, files
        file = files[path]
        self._ragged = isinstance(file, OpenROOT)
        there = list(getattr(file, "file", file))
        own = [n.removeprefix("part_") for n in there if n.startswith("part_")]
        made = [n for n, (branches, _) in _MADE.items() if set(branches) <= set(there)]
        wanted = None if features is None else [n.removeprefix("part_") for n in features]
        self.features = chosen_features(wanted, [*own, *made], _DEFAULT, path)
        self._there = there
        first: Any = file["part_px"]
        if self._ragged:
            self.rows = int(first.num_entries)
        else:
            self.rows, self.width = require_numbers(first, _AXES, "part_px", path)

    def labels(self) -> np.ndarray:
        names = [f"label_{name}" for name in _LABELS]
        lacking = [name for name in names if name not in self._there]
        if lacking:
            raise ValueError(f"{self.path} does not say the classes of its jets: no {lacking[0]}")
        found = self._columns(names, 0, self.rows)
        return class_numbers(np.stack([found[name] for name in names], 1), _LABELS, self.path)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        needed = {"part_px", "part_py"}
        for name in self.features:
            needed |= set(_MADE[name][0]) if name in _MADE else {f"part_{name}"}
        found = self._columns(sorted(needed), start, stop)
        with np.errstate(divide="ignore", invalid="ignore"):  # said of the jet, where it is read
            columns = [
                _MADE[name][1](found) if name in _MADE else found[f"part_{name}"]
                for name in self.features
            ]
        return np.stack(columns, -1), _pt(found)

    def _columns(self, names: Sequence[str], start: int, stop: int) -> dict[str, np.ndarray]:
        file = self._files[self.path]
        if not self._ragged:
            return {name: self._held(file, name, start, stop) for name in names}
        assert isinstance(file, OpenROOT)
        found = file.tree.arrays(list(names), entry_start=start, entry_stop=stop, library="ak")
        return {name: _padded(found[name]) for name in names}

    def _held(self, file: Any, name: str, start: int, stop: int) -> np.ndarray:
        of_particles = name.startswith("part_")
        found = require_numbers(file[name], _AXES[: 1 + of_particles], name, self.path)
        due = (self.rows, self.width)[: 1 + of_particles]
        if found != due:
            raise ValueError(f"{name} of {self.path} has shape {found}, part_px asks for {due}")
        return np.asarray(file[name][start:stop], dtype=np.float64)


def _padded(values: Any) -> np.ndarray:
    """Lists of unlike length as one array, zeros behind their ends."""
    awkward = require_extra("awkward", "particles", "reading ROOT files")
    if values.ndim > 1:
        longest = int(awkward.max(awkward.num(values, axis=1), initial=1))
        values = awkward.fill_none(awkward.pad_none(values, longest, axis=1), 0)
    return np.asarray(awkward.to_numpy(values), dtype=np.float64)
