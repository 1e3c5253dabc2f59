"""Jets that `surform generate jets` made: arrays by name, and the log density of every jet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from surform.data.fields import open_fields
from surform.data.jets_file import JetFile, chosen_features
from surform.data.solvers.jets_density import CLASSES

__all__ = ["GeneratedFile", "is_generated"]

_KNOWN = ("pt", "eta_rel", "phi_rel", "log_pt")


def is_generated(names: Sequence[str]) -> bool:
    """Whether arrays of these names are such jets."""
    return {"pt", "eta_rel", "phi_rel"} <= set(names)


class GeneratedFile(JetFile):
    """pt [GeV], eta_rel and phi_rel over (sample, particle); label and log_density.

    Args:
        features: of these three and log_pt; by default log_pt, eta_rel and phi_rel.
    """

    classes = CLASSES

    def __init__(self, path: str, features: Sequence[str] | None) -> None:
        self.path, self._data = path, open_fields(path)
        self.features = chosen_features(features, _KNOWN, ("log_pt", "eta_rel", "phi_rel"), path)
        if not is_generated([str(name) for name in self._data]):
            held = ", ".join(map(str, self._data)) or "nothing"
            raise ValueError(
                f"{path} holds no jets: pt, eta_rel and phi_rel are needed, not {held}"
            )
        self.rows, self.width = self._data["pt"].shape

    def labels(self) -> np.ndarray:
        if "label" not in self._data:
            raise ValueError(f"{self.path} does not say the classes of its jets: it has no label")
        found = self._data["label"].values
        if not np.isin(found, np.arange(len(CLASSES))).all():
            jet = int(np.argmin(np.isin(found, np.arange(len(CLASSES)))))
            raise ValueError(
                f"jet {jet} of {self.path} has the label {found[jet]:g}: labels are 0 to "
                f"{len(CLASSES) - 1} ({', '.join(CLASSES)})"
            )
        return found.astype(np.int64)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        needed = {"pt"} | set(self.features) - {"log_pt"}
        found: dict[str, Any] = {n: self._data[n][start:stop].values for n in sorted(needed)}
        found["log_pt"] = np.log(np.maximum(found["pt"], 1e-8))
        return np.stack([found[name] for name in self.features], -1), found["pt"]

    def log_densities(self) -> np.ndarray | None:
        found = self._data.get("log_density")
        return None if found is None else found.values.astype(np.float64)

    def provenance(self) -> dict[str, str]:
        return {str(name): str(value) for name, value in self._data.attrs.items()}
