"""`surform symmetry`: what turns, mirror images, orders and batches change of a potential."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Measure how well a potential keeps the symmetries of nature: frames of edges, rotations, "
    "mirror images, translations, the order of atoms, the size of the system, the batch, and "
    "whether it repeats itself. Without a file: on a molecule and a crystal of elements that it "
    "knows."
)
EXAMPLE = "surform symmetry runs/ethanol test.extxyz --index 0:5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("model", help="a potential: saved folder, run, name, hf://... or .ckpt")
    add("file", nargs="?", help="structures: extended XYZ, CIF, or whatever else ASE reads")
    add("--index", default=":", metavar="A:B", help="which structures of the file (all)")
    add("--tries", type=int, default=3, metavar="N", help="random ones of each kind (3)")
    add("--dtype", default="float64", choices=("float32", "float64"), help="(float64)")
    add("--device", default="cpu", help="torch device (cpu)")


def run(args: argparse.Namespace) -> int:
    """Measure and print a table."""
    from surform.atomistic.structure_files import read_structures
    from surform.atomistic.symmetry import measure_symmetry
    from surform.cli.load import load_any

    model = load_any(args.model)
    if args.file:
        structures = read_structures(args.file, args.index)
    else:
        structures = _examples(model)
    found = measure_symmetry(
        model, structures, dtype=args.dtype, device=args.device, tries=args.tries
    )
    names = ", ".join(dict.fromkeys(atoms.get_chemical_formula() for atoms in structures))
    print(f"largest changes in {args.dtype}, {len(structures)} structures: {names}")
    _show([vars(each) for each in found])
    return 0


def _examples(model: Any) -> list[Atoms]:
    """A molecule and a crystal of a few elements that the model knows."""
    from ase.build import bulk, molecule

    elements = getattr(model.description, "elements", None) or ("H", "C", "O")
    one, other = molecule("CH3CH2OH"), bulk("Cu", cubic=True, a=3.9)
    other.rattle(0.1, seed=0)
    for atoms in (one, other):
        kinds = [elements[number % len(elements)] for number in range(len(atoms))]
        atoms.set_chemical_symbols(kinds)
    made: list[Atoms] = [one, other]
    return made


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("what must not matter")
    for column in ("energy [meV/atom]", "forces [meV/Å]", "relative to forces"):
        table.add_column(column, justify="right")
    for row in rows:
        numbers = (row["energy"], row["forces"], row["relative"])
        table.add_row(row["check"], *("–" if n is None or n != n else f"{n:.1e}" for n in numbers))
    Console().print(table)
