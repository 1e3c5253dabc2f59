"""One file of jets, whatever its layout: which features and classes it has, and blocks of jets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from surform.data.faults import closest

__all__ = ["JetFile", "chosen_features", "class_numbers", "require_numbers"]


class JetFile(ABC):
    """Jets of one file, read block by block.

    Attributes:
        path: names the file in errors.
        features: of a particle, in order.
        classes: names, in the order of their numbers.
        rows: jets.
        width: particles of a jet, padding included; None where it is not known without reading.
    """

    path: str
    features: tuple[str, ...]
    classes: tuple[str, ...]
    rows: int
    width: int | None = None

    @abstractmethod
    def labels(self) -> np.ndarray:
        """(rows,) int64: the class of each jet; ValueError where there are none."""

    @abstractmethod
    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Features (n, p, f) and transverse momenta (n, p) of jets; padding has pT 0."""

    def log_densities(self) -> np.ndarray | None:
        """(rows, k): log density of each jet under each class, where it is known."""
        return None

    def provenance(self) -> dict[str, str]:
        """How the file was made, where it says so."""
        return {}


def require_numbers(stored: Any, axes: Sequence[str], name: str, path: str) -> tuple[int, ...]:
    """The shape of a stored array; ValueError unless it holds numbers over so many axes."""
    shape = getattr(stored, "shape", None)
    if shape is None or stored.dtype.kind not in "iufb" or len(shape) != len(axes):
        what = "is no array" if shape is None else f"is {stored.dtype} of shape {shape}"
        raise ValueError(f"{name} of {path} {what}: expected numbers, ({', '.join(axes)})")
    return tuple(shape)


def chosen_features(
    wanted: Sequence[str] | None, known: Sequence[str], default: Sequence[str], path: str
) -> tuple[str, ...]:
    """The features to be read; ValueError names one that the file lacks, or that is there twice."""
    names = tuple(default if wanted is None else wanted)
    for place, name in enumerate(names):
        if name not in known:
            raise ValueError(f"{path} has no feature {name!r} of particles: {closest(name, known)}")
        if name in names[:place]:
            raise ValueError(f"features names {name!r} twice")
    if not names:
        raise ValueError("features is empty: name some, or leave it out")
    return names


def class_numbers(hot: np.ndarray, classes: Sequence[str], path: str) -> np.ndarray:
    """(n, k) of zeros and one 1 -> (n,); ValueError names a jet of no class, or of several."""
    bad = ((hot != 0).sum(1) != 1) | ~np.isfinite(hot).all(1)
    if bad.any():
        jet = int(np.argmax(bad))
        found = [n for n, value in zip(classes, hot[jet], strict=True) if value != 0]
        what = f"several classes ({', '.join(found)})" if found else "no class"
        if not np.isfinite(hot[jet]).all():
            what = "a label that is no number"
        raise ValueError(
            f"jet {jet} of {path} has {what}: it must have one of {', '.join(classes)}"
        )
    return (hot != 0).argmax(1).astype(np.int64)
