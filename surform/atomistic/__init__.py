"""Potentials of atomic systems: energies, forces and stresses of molecules, crystals, surfaces.

`Calculator` drives ASE with a potential, `relax` moves many structures downhill at once. They are
looked up when they are asked for, as ASE is an optional dependency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surform.registry import import_object

if TYPE_CHECKING:
    from surform.atomistic.calculator import Calculator as Calculator
    from surform.atomistic.relaxation import Relaxed as Relaxed
    from surform.atomistic.relaxation import relax as relax

_LAZY = {
    "Calculator": "surform.atomistic.calculator:Calculator",
    "Relaxed": "surform.atomistic.relaxation:Relaxed",
    "relax": "surform.atomistic.relaxation:relax",
}

__all__ = ["Calculator", "Relaxed", "relax"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_object(_LAZY[name])
    raise AttributeError(f"module 'surform.atomistic' has no attribute {name!r}")
