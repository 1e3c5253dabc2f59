"""Molecules by their names, and cells of metals."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from surform.data.extras import require_extra
from surform.data.faults import first_line

__all__ = ["METALS", "crystal_of", "molecule_of"]

METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
# usual names of molecules of the G2 set, by its formulas
_USUAL = {
    "acetamide": "CH3CONH2", "acetic acid": "CH3COOH", "acetone": "CH3COCH3", "acetylene": "C2H2",
    "ammonia": "NH3", "benzene": "C6H6", "butadiene": "butadiene", "carbon dioxide": "CO2",
    "dimethyl ether": "CH3OCH3", "ethane": "C2H6", "ethanol": "CH3CH2OH", "ethylene": "C2H4",
    "formaldehyde": "H2CO", "formic acid": "HCOOH", "furan": "C4H4O", "hydrogen peroxide": "H2O2",
    "methane": "CH4", "methanol": "CH3OH", "propane": "C3H8", "pyridine": "C5H5N",
    "pyrrole": "C4H4NH", "thiophene": "C4H4S", "water": "H2O",
}  # fmt: skip
# a conformer relaxed by GFN2-xTB [Å]
_ASPIRIN = """
C 3.330 0.706 -0.007  C 1.974 0.360 0.527    O 1.493 0.761 1.550    O 1.344 -0.504 -0.303
C 0.004 -0.758 -0.105 C -0.396 -2.080 0.031  C -1.732 -2.384 0.215  C -2.674 -1.369 0.284
C -2.281 -0.052 0.149 C -0.942 0.273 -0.056  C -0.542 1.686 -0.261  O 0.451 2.055 -0.839
O -1.432 2.550 0.238  H 3.738 -0.119 -0.582  H 3.991 0.984 0.809    H 3.200 1.562 -0.667
H 0.355 -2.853 -0.010 H -2.037 -3.415 0.314  H -3.716 -1.607 0.436  H -3.005 0.745 0.192
H -1.122 3.458 0.094
"""


def molecule_of(name: str) -> Any:
    """ASE's atoms of a molecule: a usual name, one of the G2 set, or a file.

    Raises:
        ValueError: an unknown name, with the nearest there are; a file that cannot be read.
        ImportError: ASE is not installed.
    """
    require_extra("ase", "atomistic", "generating trajectories")
    from ase.build import molecule
    from ase.collections import g2
    from ase.io import read

    if name == "aspirin":
        return _written(_ASPIRIN)
    if Path(name).is_file():
        try:
            return read(name, index=0)
        except Exception as error:  # damaged files of any format can fail in any way
            raise ValueError(f"{name} cannot be read: {first_line(error)}") from error
    formula = _USUAL.get(name, name)
    if formula in g2.names:
        return molecule(formula)
    known = ["aspirin", *_USUAL, *g2.names]
    near = difflib.get_close_matches(name, known, n=3) or ["ethanol", "aspirin", "CH3COOH"]
    raise ValueError(f"there is no molecule {name!r} and no such file: try {', '.join(near)}")


def crystal_of(metal: str, repeat: int) -> Any:
    """ASE's atoms of `repeat` cubic cells of a metal along each side.

    Raises:
        ValueError: an element that the effective medium theory does not know.
    """
    require_extra("ase", "atomistic", "generating trajectories")
    from ase.build import bulk

    if metal not in METALS:
        raise ValueError(f"crystal is {metal!r}, but can be {', '.join(METALS)}")
    return bulk(metal, cubic=True) * (repeat, repeat, repeat)


def _written(text: str) -> Any:
    from ase import Atoms

    words = text.split()
    places = [[float(word) for word in words[n + 1 : n + 4]] for n in range(0, len(words), 4)]
    return Atoms(words[::4], places)
