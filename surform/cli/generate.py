"""`surform generate`: make data with a built-in solver."""

from __future__ import annotations

import argparse
import difflib
import inspect
from pathlib import Path
from typing import NoReturn

from surform.data.solvers import SOLVERS

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Make a data set with a built-in solver, as Zarr, netCDF-4/HDF5 or a table. The same command "
    "continues a run that was stopped."
)
EXAMPLE = "surform generate kolmogorov --out flow.zarr --samples 8 --grid 32 --frames 20"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the solver's name and what all solvers share; the solver's own options follow later."""
    parser.usage = f"{parser.prog} NAME --out FILE --samples N [options of all and of the solver]"
    parser.add_argument("name", nargs="?", metavar="NAME", help=", ".join(sorted(SOLVERS)))
    parser.add_argument("--list", action="store_true", help="describe the solvers")
    parser.add_argument("--join", action="store_true", help="join the parts that --shard made")
    _add_common(parser)
    # The solver decides which options exist, and importing it takes seconds: run() reads the rest.
    rest = "options of the solver, shown by: surform generate NAME --help"
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=rest)


def run(args: argparse.Namespace) -> int:
    """List the solvers, join parts, or make a data set."""
    if args.list:
        return _list()
    if args.name is None:
        if not args.join:
            raise ValueError(f"which solver? NAME is one of {', '.join(sorted(SOLVERS))}")
        return _join(args)
    parser = _SolverParser(args)
    values = vars(parser.parse_args(args.rest))
    if values.pop("help"):
        print(parser.format_help(), end="")
        return 0
    if values.pop("join") or args.join:
        return _join(argparse.Namespace(**values))
    return _generate(args.name, values)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--out",
        metavar="FILE",
        help="file to write: .zarr, .h5 or .nc; series also .csv, rows .parquet or "
        ".csv, pictures a folder, frames and demonstrations .h5 (demonstrations.h5)",
    )
    add(
        "--samples",
        "--episodes",
        type=int,
        metavar="N",
        help="size of the whole data set; of demonstrations, episodes of each task",
    )
    add("--seed", type=int, default=0, help="sample i is a function of (seed, i) (0)")
    add("--shard", default="0/1", metavar="I/N", help="make part I of N, I = 0 ... N-1")
    add("--batch", type=int, metavar="B", help="samples computed at once (the solver's choice)")
    add("--device", default="cpu", help="torch device (cpu)")
    add("--dtype", default="float32", choices=("float32", "float64"), help="(float32)")
    workers = "processes, of solvers on meshes, pictures, demonstrations (one per core)"
    add("--workers", type=int, metavar="W", help=workers)
    add("--overwrite", action="store_true", help="replace what exists instead of continuing it")


class _SolverParser(argparse.ArgumentParser):
    """The options of one solver, typed by its signature, with those of all solvers."""

    def __init__(self, args: argparse.Namespace) -> None:
        from surform.data.solvers.options import find_solver, solver_options

        self.solver = args.name
        super().__init__(
            prog=f"surform generate {args.name}",
            description=inspect.getdoc(find_solver(args.name)).partition("\nArgs:")[0],  # pyright: ignore[reportOptionalMemberAccess]
            epilog=f"example:\n  {_example(args.name)}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="store_true", help="show this message")
        _add_common(self)
        self.add_argument("--join", action="store_true", help="join the parts that --shard made")
        known = {action.dest for action in self._actions} - {"help", "join"}
        self.set_defaults(**{key: value for key, value in vars(args).items() if key in known})
        group = self.add_argument_group("options of the solver")
        for option in solver_options(args.name).values():
            group.add_argument(
                f"--{option.name.replace('_', '-')}",
                dest=f"solver.{option.name}",
                default=argparse.SUPPRESS,
                metavar="|".join(option.choices) or option.kind.__name__.upper(),
                help=f"{option.help.rstrip('.')} ({_shown(option.default)})".replace("%", "%%"),
            )

    def parse_args(self, argv: list[str]) -> argparse.Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        # --dt_frame is --dt-frame
        words = [_dashes(word) if word.startswith("--") else word for word in argv]
        args, unknown = self.parse_known_args(words)
        if unknown:
            valid = [text for action in self._actions for text in action.option_strings]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], valid, n=1)
            hint = f"did you mean {near[0]}?" if near else f"see {self.prog} --help"
            raise ValueError(f"unknown option {unknown[0]!r} of {self.solver}: {hint}")
        return args

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _generate(name: str, values: dict[str, object]) -> int:
    from surform.data.solvers.generate import generate
    from surform.data.solvers.options import makes_demonstrations, makes_rows
    from surform.data.solvers.request import shard_path

    if values["out"] is None and makes_demonstrations(name):
        values["out"] = "demonstrations.h5"
    for required in ("out", "samples"):
        if values[required] is None:
            raise ValueError(f"--{required} is missing (see surform generate {name} --help)")
    options = {key: value for key, value in values.items() if not key.startswith("solver.")}
    own = {k.removeprefix("solver."): v for k, v in values.items() if k.startswith("solver.")}
    options["shard"] = _shard(str(options["shard"]))
    existed = shard_path(str(options["out"]), options["shard"], name).exists()
    path = generate(name, progress=True, **options, **own)  # pyright: ignore[reportArgumentType]
    complete = existed and not options["overwrite"]
    if makes_demonstrations(name) and not complete:
        _tell_attempts(path)
    if makes_rows(name):
        _tell_bayes(path)
    print(f"{path} is already complete" if complete else f"wrote {path}")
    return 0


def _tell_attempts(path: Path) -> None:
    from surform.data.solvers.demonstrations_run import attempts_of

    for task, (kept, tried) in attempts_of(path).items():
        print(f"{task}: kept the {kept} episodes of {tried} attempts that succeeded")


def _tell_bayes(path: Path) -> None:
    from surform.data.solvers.clicks_run import bayes_of

    found = bayes_of(path)
    print(
        f"the true probabilities have AUC {found['bayes_auc']:.4f} and log loss "
        f"{found['bayes_log_loss']:.4f}"
    )


def _join(args: argparse.Namespace) -> int:
    from surform.data.solvers.shards import join

    if args.out is None:
        raise ValueError("--out is missing: the file that the parts are joined into")
    print(f"wrote {join(args.out, args.overwrite)}")
    return 0


def _list() -> int:
    from surform.data.solvers.options import summary

    width = max(map(len, SOLVERS))
    for name in sorted(SOLVERS):
        print(f"{name:<{width}}  {summary(name)}")
    print("\nsurform generate NAME --help shows the options of a solver.")
    return 0


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard is {text!r}, but it must look like 0/8")
    return int(index), int(count)


def _example(name: str) -> str:
    from surform.data.solvers.options import (
        makes_demonstrations,
        makes_rows,
        makes_trajectory,
        pictures_set,
    )

    if makes_rows(name):
        return f"surform generate {name} --out {name}.parquet --samples 100000 --seed 0"
    frames = makes_trajectory(name) or makes_demonstrations(name)
    suffix = "" if pictures_set(name) else ".h5" if frames else ".zarr"
    return f"surform generate {name} --out {name}{suffix} --samples 4 --seed 0"


def _dashes(word: str) -> str:
    option, equals, value = word.partition("=")
    return option.replace("_", "-") + equals + value


def _shown(default: object) -> str:
    return "automatic" if default is None else str(default)
