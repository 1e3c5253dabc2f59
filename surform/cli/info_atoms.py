"""`surform info` on structures of atoms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console

    from surform.data.atoms_source import AtomsSource
    from surform.data.atoms_structure import Structure

__all__ = ["show_atoms"]

_MOST = 1000  # structures that are read
_AXES = {0: "no axis", 1: "one axis", 2: "two axes", 3: "three axes"}


def show_atoms(console: Console, path: str) -> None:
    """How many structures of which elements, their labels, periodic axes and atoms held fixed, and
    what is odd about the numbers.
    """
    from surform.data.atoms_files import open_atoms

    source = open_atoms(path)
    numbers = np.unique(np.linspace(0, len(source) - 1, min(len(source), _MOST)).astype(int))
    found = [source.read(int(number)) for number in numbers]

    def show(text: str, **options: str) -> None:
        console.print(text, soft_wrap=True, **options)  # type: ignore[arg-type]

    sizes = source.sizes()
    counts = [len(one) for one in found] if sizes is None else sizes
    low, high = int(min(counts)), int(max(counts))
    atoms = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    show(f"{path}: {len(source):,} structures of {atoms} atoms", style="bold")
    show(f"elements: {_elements(found)}")
    for line in (*_labels(found), _other(source, found), _periodic(found), _held(found)):
        if line:
            show(line)
    if len(found) < len(source):
        show(f"read: {len(found):,} of them")
    for name, value in source.provenance().items():
        show(f"{name}: {value}"[:200])
    for line in _odd(source, numbers):
        show(f"look: {line}")


def _elements(found: list[Structure]) -> str:
    from surform.data.elements import SYMBOLS

    total = Counter(np.concatenate([one.numbers for one in found]).tolist())
    every = sum(total.values())
    shares = {SYMBOLS[n]: 100 * count / every for n, count in sorted(total.items())}
    return ", ".join(
        f"{name} {share:.0f}%" if share >= 10 else f"{name} {share:.2g}%"
        for name, share in shares.items()
    )


def _labels(found: list[Structure]) -> list[str]:
    energies = np.array([one.energy for one in found])
    per_atom = energies / [len(one) for one in found]
    lines = []
    known = ~np.isnan(energies)
    if known.any():
        low, high = per_atom[known].min(), per_atom[known].max()
        lines.append(
            f"energy [eV]: mean {energies[known].mean():.6g}, deviation "
            f"{energies[known].std():.4g}, {low:.6g} to {high:.6g} per atom{_share(known)}"
        )
    for name, unit in (("forces", "eV/Å"), ("stress", "eV/Å^3")):
        own = [getattr(one, name) for one in found if name in one.known()]
        if own:
            values = np.concatenate([values.ravel() for values in own])
            some = np.array([name in one.known() for one in found])
            lines.append(
                f"{name} [{unit}]: root mean square {np.sqrt((values**2).mean()):.4g}, largest "
                f"{np.abs(values).max():.4g}{_share(some)}"
            )
    return lines or ["labels: none by the usual names"]


def _share(known: np.ndarray) -> str:
    return "" if known.all() else f", of {known.mean():.0%} of the structures"


def _other(source: AtomsSource, found: list[Structure]) -> str:
    known = set(found[0].known())
    lacking = {"energy", "forces"} - known
    names = [name for name in source.offered(0) if name not in known] if lacking else ()
    return f"also there: {', '.join(names)}" if names else ""


def _periodic(found: list[Structure]) -> str:
    axes = Counter(int(one.pbc.sum()) for one in found)
    shown = [f"{_AXES[n]} ({count / len(found):.0%})" for n, count in sorted(axes.items())]
    if len(shown) == 1:
        shown = [_AXES[next(iter(axes))]]
    return f"periodic along {', '.join(shown)}"


def _held(found: list[Structure]) -> str:
    free = np.concatenate([one.free for one in found])
    return "" if free.all() else f"held fixed: {1 - free.mean():.0%} of the atoms"


def _odd(source: AtomsSource, numbers: np.ndarray) -> list[str]:
    from surform.data.atoms_plausible import implausible

    try:
        return implausible(source, numbers)
    except ValueError as error:
        return [str(error)]
