"""Jets of the HLS4ML LHC data set: Pierini et al., 2020 (doi 10.5281/zenodo.3602260), HDF5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surform.data.jets_file import JetFile, chosen_features, class_numbers, require_numbers
from surform.data.open_files import OpenFiles

__all__ = ["HLS4MLFile", "is_hls4ml"]

_CLASSES = ("j_g", "j_q", "j_w", "j_z", "j_t")
_NAMES = ("gluon", "quark", "W", "Z", "top")
_DEFAULT = ("pt", "etarel", "phirel")
# columns of jetConstituentList, where particleFeatureNames is missing
_COLUMNS = (
    "px", "py", "pz", "e", "erel", "pt", "ptrel", "eta", "etarel", "etarot", "phi", "phirel",
    "phirot", "deltaR", "costheta", "costhetarel",
)  # fmt: skip


def is_hls4ml(file: Any) -> bool:
    """Whether an HDF5 file has this layout."""
    return "jetConstituentList" in file


class HLS4MLFile(JetFile):
    """`jetConstituentList` (jets, particles, 16), and the class in the named columns of `jets`.

    Args:
        features: without the "j1_" of their names; by default pt, etarel and phirel.
    """

    classes = _NAMES

    def __init__(self, path: str, files: OpenFiles, features: Sequence[str] | None) -> None:
        self.path, self._files = path, files
        stored: Any = files[path]["jetConstituentList"]
        axes = ("jets", "particles", "features")
        self.rows, self.width, columns = require_numbers(stored, axes, "jetConstituentList", path)
        known = self._names("particleFeatureNames") or list(_COLUMNS)
        known = [name.removeprefix("j1_") for name in known][:columns]
        if len(known) < columns or "pt" not in known:
            raise ValueError(
                f"{path} has {columns} features of particles, of which {len(known)} have a name: "
                f"expected {', '.join(_COLUMNS)}"
            )
        wanted = None if features is None else [name.removeprefix("j1_") for name in features]
        self.features = chosen_features(wanted, known, _DEFAULT, path)
        self._columns, self._pt = [known.index(n) for n in self.features], known.index("pt")

    def labels(self) -> np.ndarray:
        file = self._files[self.path]
        names = self._names("jetFeatureNames")
        lacking = [name for name in _CLASSES if name not in names]
        if lacking:
            raise ValueError(
                f"{self.path} does not say the classes of its jets: jetFeatureNames lacks "
                f"{', '.join(lacking)}"
            )
        if "jets" not in file.file:  # type: ignore[attr-defined]
            raise ValueError(f"{self.path} does not say the classes of its jets: it has no jets")
        stored: Any = file["jets"]
        rows, columns = require_numbers(stored, ("jets", "features"), "jets", self.path)
        if (rows, columns) != (self.rows, len(names)):
            raise ValueError(
                f"jets of {self.path} has {rows} rows and {columns} columns, but there are "
                f"{self.rows} jets and {len(names)} names in jetFeatureNames"
            )
        hot = np.asarray(stored[:])[:, [names.index(name) for name in _CLASSES]]
        return class_numbers(hot, _NAMES, self.path)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.asarray(self._files[self.path]["jetConstituentList"][start:stop])
        return values[..., self._columns], values[..., self._pt]

    def _names(self, key: str) -> list[str]:
        file: Any = self._files[self.path]
        try:
            values = file[key][:]
        except KeyError:
            return []
        return [v.decode() if isinstance(v, bytes) else str(v) for v in values]
