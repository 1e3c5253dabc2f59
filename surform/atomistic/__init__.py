"""Potentials of atomic systems: energies, forces and stresses of molecules, crystals, surfaces.

`Calculator` drives ASE with a potential. It is looked up when it is asked for, as ASE is an
optional dependency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surform.registry import import_object

if TYPE_CHECKING:
    from surform.atomistic.calculator import Calculator as Calculator

_LAZY = {
    "Calculator": "surform.atomistic.calculator:Calculator",
}

__all__ = ["Calculator"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_object(_LAZY[name])
    raise AttributeError(f"module 'surform.atomistic' has no attribute {name!r}")
