"""`surform md`: molecular dynamics of one structure, with a log, a trajectory and a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

    from surform.atomistic.calculator import Calculator
    from surform.atomistic.course import Course
    from surform.atomistic.frames_file import FramesFile
    from surform.atomistic.simulation import Simulation

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Move the atoms of a structure in time, at constant temperature (Langevin) or constant energy "
    "(--ensemble nve). Energies and temperatures go to a log beside the trajectory as it runs. "
    "The same command continues a run that was stopped, to the same bits. Exit code 1: the run "
    "broke; frames up to there are written."
)
EXAMPLE = (
    "surform md start.extxyz --model runs/ethanol --temperature 500 --steps 10000 "
    "--out traj.extxyz --report md.html"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("file", help="the structure: extended XYZ, CIF, POSCAR, or whatever else ASE reads")
    add("--model", required=True, help="a potential: saved folder, run, name, hf://... or .ckpt")
    add("--out", required=True, metavar="FILE", help="trajectory: .extxyz, or .h5 or .nc (xarray)")
    add("--steps", type=int, required=True, metavar="N", help="of the integrator")
    add("--temperature", type=float, metavar="K", help="of the thermostat and of the start")
    add("--ensemble", default="langevin", choices=("langevin", "nve"), help="(langevin)")
    add("--timestep", type=float, default=0.5, metavar="FS", help="in fs (0.5)")
    add("--friction", type=float, default=0.01, metavar="F", help="of Langevin, 1/fs (0.01)")
    add("--interval", type=int, default=10, metavar="N", help="steps from frame to frame (10)")
    add("--seed", type=int, default=0, help="of velocities and pushes (0)")
    add("--index", default="-1", metavar="I", help="which structure of the file (the last)")
    add("--report", metavar="FILE", help="write a self-contained HTML page here")
    add("--device", default="cpu", help="torch device (cpu)")
    add("--dtype", choices=("float32", "float64"), help="of the network (as it was saved)")
    add("--overwrite", action="store_true", help="start anew, and replace what exists")


def run(args: argparse.Namespace) -> int:
    """Run, write, tell; 1 where the run broke."""
    from surform.atomistic.calculator import Calculator
    from surform.atomistic.course import Course
    from surform.atomistic.course_report import summary_of
    from surform.atomistic.frames_file import FramesFile
    from surform.atomistic.simulation import Simulation, settings_of
    from surform.cli.load import load_any
    from surform.data.atomic import writer_lock

    out = Path(args.out)
    names = ("temperature", "timestep", "ensemble", "friction", "interval", "seed")
    how = Simulation(args.steps, **{name: getattr(args, name) for name in names})
    atoms = _structure(args)
    _check_outputs(args, out)
    calculator = Calculator(load_any(args.model), args.device, args.dtype)
    with writer_lock(out):
        partial = out.with_name(f"{out.name}.partial")
        if args.overwrite:
            partial.unlink(missing_ok=True)
        frames = FramesFile(partial, len(atoms), settings_of(atoms, calculator, how))
        broken = _simulate(atoms, calculator, how, frames, out.with_suffix(".csv"))
        course = Course(atoms, frames.read(), how.timestep)
        written, summary = _write(args, course, how), summary_of(course, how)
        del course  # it maps the file
        partial.unlink()
    for name, value in summary.items():
        print(f"{name:<42} {value:10.4g}")
    if how.remark:
        print(how.remark)
    print(f"wrote {', '.join(map(str, written))}")
    if broken:
        print(f"{broken}; the {frames.count} frames before are written")
    return 1 if broken else 0


def _structure(args: argparse.Namespace) -> Atoms:
    from surform.atomistic.structure_files import read_structures

    found = read_structures(args.file, args.index)
    if len(found) != 1:
        raise ValueError(f"--index {args.index} chooses {len(found)} structures, but must one")
    return found[0]


def _check_outputs(args: argparse.Namespace, out: Path) -> None:
    from surform.atomistic.course_files import LOG, SUFFIXES
    from surform.data.atomic import refuse_folder

    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out {out} must end in {', '.join(SUFFIXES)}")
    files = {"--out": out, "the log": out.with_suffix(".csv")}
    files |= {"--report": Path(args.report)} if args.report else {}
    for name, path in files.items():
        refuse_folder(path, name)
        if path.resolve() == Path(args.file).resolve():
            raise ValueError(f"{name} {path} would replace the file that is read")
    if len({path.resolve() for path in files.values()}) < len(files):
        raise ValueError("--out, its log (.csv) and --report must be different files")
    log = files["the log"]
    if log.exists() and log.read_text(encoding="utf-8", errors="replace").split("\n")[0] != LOG:
        raise FileExistsError(f"{log} is no log of a run: choose another --out")
    if out.exists() and not args.overwrite:
        raise FileExistsError(f"{out} exists already: choose another name, or --overwrite")


def _simulate(
    atoms: Atoms, calculator: Calculator, how: Simulation, frames: FramesFile, log: Path
) -> str:
    """Run to the end; returns why it broke, "" as a rule."""
    from surform.atomistic.course import Course
    from surform.atomistic.course_files import log_line, write_log
    from surform.atomistic.simulation import simulate
    from surform.data.solvers.progress import progress_bar

    if frames.count:
        print(f"going on from step {int(frames.read()['step'][-1])}")
    write_log(log, Course(atoms, frames.read(), how.timestep))
    with progress_bar(f"md: {how.steps} steps") as show, open(log, "a", encoding="utf-8") as file:

        def each(atoms: Atoms, step: int) -> None:
            potential, kinetic = atoms.get_potential_energy(), float(atoms.get_kinetic_energy())
            time, warmth = step * how.timestep / 1000, float(atoms.get_temperature())
            file.write(log_line(step, time, potential, kinetic, warmth) + "\n")
            file.flush()
            show(step / how.steps)

        try:
            simulate(atoms, calculator, how, frames, each)
        except ValueError as error:
            if not frames.count:
                raise
            return str(error)
    return ""


def _write(args: argparse.Namespace, course: Course, how: Simulation) -> list[Path]:
    """Write the trajectory and the report; returns all files that there are."""
    from surform.atomistic.course_files import write_course
    from surform.atomistic.course_report import course_report

    written = [write_course(args.out, course), Path(args.out).with_suffix(".csv")]
    if args.report:
        written.append(course_report(args.report, course, how, _details(args, course)))
    return written


def _details(args: argparse.Namespace, course: Course) -> dict[str, Any]:
    names = ("file", "model", "ensemble", "steps", "timestep", "interval", "seed", "dtype")
    found = {name: getattr(args, name) for name in names} | {"atoms": len(course.atoms)}
    if args.ensemble == "langevin":
        found |= {"temperature": args.temperature, "friction": args.friction}
    return found
