"""What gives energies and forces of frames: GFN2-xTB, or the effective medium theory."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from surform.data.extras import require_extra

__all__ = ["Teacher", "one_thread", "teacher_of"]


@dataclass(frozen=True)
class Teacher:
    """A physical method.

    name: with the versions of what computes it. make: makes an ASE calculator, which remembers
    nothing of others. elements: symbols that it knows; None: all that occur here.
    """

    name: str
    make: Callable[[], Any]
    elements: tuple[str, ...] | None = None


def teacher_of(kind: str) -> Teacher:
    """The teacher gfn2 or emt.

    Raises:
        ImportError: what computes it is not installed; names the extra.
    """
    if kind == "gfn2":
        with one_thread():
            tblite: Any = require_extra("tblite.ase", "xtb", "GFN2-xTB")
        version = importlib.metadata.version("tblite")
        return Teacher(
            f"GFN2-xTB (tblite {version}, accuracy 1.0)",
            lambda: tblite.TBLite(method="GFN2-xTB", verbosity=0),
        )
    emt: Any = require_extra("ase.calculators.emt", "atomistic", "the effective medium theory")
    version = importlib.metadata.version("ase")
    return Teacher(f"EMT (ASE {version})", emt.EMT, tuple(emt.parameters))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, so that frames come out the same; small molecules gain nothing by more.

    tblite uses the threads of torch where they share a library, else those that are set when it
    is loaded.
    """
    before, threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
