"""Files of jets in the layouts that are read, with numbers that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["LABELS", "hls4ml", "jetclass", "momenta", "take"]

_COLUMNS = [
    "px", "py", "pz", "e", "erel", "pt", "ptrel", "eta", "etarel", "etarot", "phi", "phirel",
    "phirot", "deltaR", "costheta", "costhetarel",
]  # fmt: skip
LABELS = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")


def momenta(jets: int, width: int, seed: int = 0) -> np.ndarray:
    """pT (jets, width), unsorted, with 1 ... width particles and zeros behind."""
    generator = np.random.default_rng(seed)
    counts = 1 + np.arange(jets) % width
    return np.where(np.arange(width) < counts[:, None], generator.uniform(1, 9, (jets, width)), 0)


def hls4ml(path: Path, count: int = 20, width: int = 6, seed: int = 0, **changed: Any) -> Path:
    """The class of jet i is i % 5; `changed` replaces arrays, None leaves one out."""
    generator = np.random.default_rng([seed, 1])
    pt = momenta(count, width, seed)
    particles = generator.normal(size=(count, width, len(_COLUMNS))) * (pt > 0)[..., None]
    particles[..., _COLUMNS.index("pt")] = pt
    names = ["j_pt", *(f"j_{name}" for name in ("g", "q", "w", "z", "t")), "j_undef"]
    features = np.zeros((count, len(names)))
    features[np.arange(count), 1 + np.arange(count) % 5] = 1
    arrays = {
        "jetConstituentList": particles,
        "particleFeatureNames": np.array([f"j1_{name}".encode() for name in _COLUMNS]),
        "jetFeatureNames": np.array([name.encode() for name in names]),
        "jets": features,
    }
    return _write(path, arrays | changed)


def jetclass(path: Path, count: int = 20, width: int = 5, seed: int = 0, **changed: Any) -> Path:
    """The class of jet i is i % 10."""
    return _write(path, jetclass_arrays(count, width, seed) | changed)


def jetclass_arrays(jets: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([seed, 2])
    pt, angle = momenta(jets, width, seed), generator.uniform(-3, 3, (jets, width))
    there = pt > 0
    arrays = {
        "part_px": pt * np.cos(angle),
        "part_py": pt * np.sin(angle),
        "part_energy": 2 * pt,
        "part_deta": generator.normal(size=pt.shape) * there,
        "part_dphi": generator.normal(size=pt.shape) * there,
        "part_charge": there * 1.0,
        "jet_pt": pt.sum(1),
        "jet_energy": 2 * pt.sum(1),
    }
    hot = np.arange(jets)[:, None] % len(LABELS) == np.arange(len(LABELS))
    return arrays | {f"label_{name}": hot[:, n] for n, name in enumerate(LABELS)}


def take(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file[name][:]


def _write(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values
    return path
