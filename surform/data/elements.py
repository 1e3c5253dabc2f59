"""Chemical elements: their symbols, and energies of free atoms to tell units by."""

from __future__ import annotations

__all__ = ["ATOM_ENERGIES", "SYMBOLS", "atomic_number", "symbols"]

_TEXT = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se
Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb
Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm
Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS = ("X", *_TEXT.split())  # by atomic number; X stands for none

# total energies of free atoms without relativity [Hartree], from hydrogen to argon
ATOM_ENERGIES = (
    0.0, -0.5, -2.9037, -7.4781, -14.6674, -24.6539, -37.8450, -54.5892, -75.0673, -99.7339,
    -128.9376, -162.2546, -200.0530, -242.3460, -289.3590, -341.2590, -398.1100, -460.1480,
    -527.5400,
)  # fmt: skip

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def atomic_number(symbol: str) -> int:
    """The atomic number of an element; ValueError for what is none."""
    number = _NUMBERS.get(symbol, 0)
    if not number:
        raise ValueError(f"there is no element {symbol!r}")
    return number


def symbols(numbers: list[int]) -> tuple[str, ...]:
    """The symbols of atomic numbers."""
    return tuple(SYMBOLS[number] for number in numbers)
