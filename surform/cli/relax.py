"""`surform relax`: structures of a file come to rest, many at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surform.atomistic.relaxation import Relaxed

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Move the atoms of structures downhill until the forces are small, many structures at once. "
    "Energies, forces, `converged` and `steps` are written with them. Exit code 1: some did not "
    "come to rest."
)
EXAMPLE = "surform relax start.extxyz --model runs/ethanol --fmax 0.02 --out relaxed.extxyz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("file", help="structures: extended XYZ, CIF, POSCAR, or whatever else ASE reads")
    add("--model", required=True, help="a potential: saved folder, run, name, hf://... or .ckpt")
    add("--out", required=True, metavar="FILE", help="write the relaxed structures here (.extxyz)")
    add("--index", default=":", metavar="A:B", help="which structures, as a slice (all)")
    add("--optimizer", default="fire", choices=("fire", "lbfgs"), help="(fire)")
    add("--fmax", type=float, default=0.05, metavar="F", help="largest force left, eV/Å (0.05)")
    add("--steps", type=int, default=500, metavar="N", help="at most so many (500)")
    add("--cell", action="store_true", help="relax cells, too; needs a network with stress")
    add("--trajectory", metavar="FILE", help="write the structures of all steps here")
    add("--batch-size", type=int, metavar="B", help="structures at once (as memory allows)")
    add("--device", default="cpu", help="torch device (cpu)")
    add("--dtype", choices=("float32", "float64"), help="of the network (as it was saved)")


def run(args: argparse.Namespace) -> int:
    """Relax, write, tell; 1 where some structures did not come to rest."""
    from surform.atomistic.relaxation import relax
    from surform.atomistic.structure_files import (
        check_structures_file,
        read_structures,
        write_structures,
    )
    from surform.cli.load import load_any
    from surform.data.solvers.progress import progress_bar

    structures = read_structures(args.file, args.index)
    check_structures_file(args.out, "--out", [args.file], len(structures))
    if args.trajectory:  # of two structures and more, as a rule
        check_structures_file(args.trajectory, "--trajectory", [args.file, args.out], 2)
    model = load_any(args.model)
    with progress_bar(f"relax: {len(structures)} structures") as show:
        found = relax(
            model,
            structures,
            args.optimizer,
            args.fmax,
            args.steps,
            cell=args.cell,
            batch_size=args.batch_size,
            trajectory=bool(args.trajectory),
            device=args.device,
            dtype=args.dtype,
            progress=show,
        )
    for each in found:
        each.atoms.info |= {"converged": each.converged, "steps": each.steps}
    written = [write_structures(args.out, [each.atoms for each in found])]
    if args.trajectory:
        frames = [frame for each in found for frame in each.trajectory]
        written.append(write_structures(args.trajectory, frames))
    _tell(found)
    print(f"wrote {', '.join(map(str, written))}")
    return 0 if all(each.converged for each in found) else 1


def _tell(found: list[Relaxed]) -> None:
    """How many came to rest, and which did not."""
    steps = sorted(each.steps for each in found)
    rested = sum(each.converged for each in found)
    middle, most = steps[len(steps) // 2], steps[-1]
    print(f"{rested} of {len(found)} came to rest; steps: median {middle}, most {most}")
    restless = [(number, each) for number, each in enumerate(found) if not each.converged]
    for number, each in restless[:20]:
        why = each.problem or f"{each.fmax:.3g} eV/Å are left"
        formula = each.atoms.get_chemical_formula()
        print(f"structure {number} ({formula}) did not, after {each.steps} steps: {why}")
    if len(restless) > 20:
        print(f"and {len(restless) - 20} more")
