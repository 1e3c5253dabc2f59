"""Potentials of atomic systems: energies, forces and stresses of molecules, crystals, surfaces.

`Calculator` drives ASE with a potential, `relax` moves many structures downhill at once,
`TorchSimModel` runs in torch-sim. They are looked up when they are asked for, as ASE and torch-sim
are optional dependencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surform.registry import import_object

if TYPE_CHECKING:
    from surform.atomistic.calculator import Calculator as Calculator
    from surform.atomistic.relaxation import Relaxed as Relaxed
    from surform.atomistic.relaxation import relax as relax
    from surform.atomistic.torch_sim_model import TorchSimModel as TorchSimModel

_LAZY = {
    "Calculator": "surform.atomistic.calculator:Calculator",
    "Relaxed": "surform.atomistic.relaxation:Relaxed",
    "TorchSimModel": "surform.atomistic.torch_sim_model:TorchSimModel",
    "relax": "surform.atomistic.relaxation:relax",
}

__all__ = ["Calculator", "Relaxed", "TorchSimModel", "relax"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_object(_LAZY[name])
    raise AttributeError(f"module 'surform.atomistic' has no attribute {name!r}")
