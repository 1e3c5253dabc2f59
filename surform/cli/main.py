"""The front of the `surform` command: argparse and a table of strings, neither torch nor lightning.

A command is a module with `HELP`, `EXAMPLE`, `add_arguments(parser)` and `run(args) -> int`. The
commands of the training loop take the rest of the line as it stands: `run_raw(command, argv)`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import surform
from surform.cli.parser import Parser

__all__ = ["COMMANDS", "USER_ERRORS", "main", "one_line"]

COMMANDS: dict[str, tuple[str, str]] = {
    "fit": ("surform.cli.fit", "train a model from a recipe"),
    "validate": ("surform.cli.fit", "evaluate a checkpoint on the validation split"),
    "test": ("surform.cli.fit", "evaluate a checkpoint on the test split"),
    "predict": ("surform.cli.fit", "write the predictions of a checkpoint"),
    "tune": ("surform.cli.tune", "search the options that train best"),
    "backtest": ("surform.cli.backtest", "evaluate a forecaster at rolling origins"),
    "ensemble": ("surform.cli.ensemble", "join runs into one model with intervals"),
    "rollout": ("surform.cli.rollout", "run a model step after step, with a report"),
    "relax": ("surform.cli.relax", "move the atoms of structures to rest"),
    "md": ("surform.cli.md", "run molecular dynamics with a potential"),
    "symmetry": ("surform.cli.symmetry", "measure the symmetries of a potential"),
    "generate": ("surform.cli.generate", "make data with a built-in solver"),
    "export": ("surform.cli.export", "write a model as an ONNX or torch.export program"),
    "convert": ("surform.cli.convert", "turn an official checkpoint into a surform model"),
    "verify": ("surform.cli.verify", "replay official numbers through our models"),
    "list": ("surform.cli.list", "list models, recipes, solvers and pretrained weights"),
    "info": ("surform.cli.info", "describe a model, a recipe, a checkpoint or a data file"),
    "doctor": ("surform.cli.doctor", "check this installation and this machine"),
    "attention": ("surform.cli.attention", "show the attention kernels and time them"),
    "bench": ("surform.cli.bench", "measure speed, memory and accuracy"),
    "demo": ("surform.cli.demo", "generate, train, roll out and report in minutes"),
}

# What a user can cause; anything else is our bug and keeps its traceback.
USER_ERRORS = (ValueError, TypeError, OSError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 success, 1 failed check, 2 bad input."""
    line = list(sys.argv[1:] if argv is None else argv)
    traceback = "--traceback" in line or bool(os.environ.get("SURFORM_TRACEBACK"))
    line = [word for word in line if word != "--traceback"]
    try:
        code = _answer(line)
        _flush()  # here, where a reader that has gone is met, not when Python ends
        return code
    except KeyboardInterrupt:
        print("surform: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        if traceback:
            raise
        print(
            f"surform {line[0]}: {one_line(error)}: not enough memory for what is asked; "
            "ask for less, or write to a .zarr",
            file=sys.stderr,
        )
        return 2
    except USER_ERRORS as error:
        if traceback:
            raise
        print(f"{' '.join(['surform', *line[:1]])}{_process()}: {one_line(error)}", file=sys.stderr)
        return 2


def _flush() -> None:
    if sys.stdout is not None:  # as it is where the shell has closed it
        sys.stdout.flush()


def _answer(line: list[str]) -> int:
    if not line or line[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if line else 2
    if line[0] in ("-V", "--version"):
        print(f"surform {surform.__version__}")
        return 0
    return _run(line[0], line[1:])


def _process() -> str:
    """Which of the processes of a run this is, where it is not the first."""
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    return f" (process {rank})" if rank != "0" else ""


def _run(command: str, argv: list[str]) -> int:
    if command not in COMMANDS:
        raise ValueError(_unknown("command", command, list(COMMANDS)))
    path, summary = COMMANDS[command]
    module = importlib.import_module(path)
    if hasattr(module, "run_raw"):
        return module.run_raw(command, argv)
    parser = Parser(
        prog=f"surform {command}",
        description=module.HELP or summary,
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--traceback", action="store_true", help="show errors in full")
    module.add_arguments(parser)
    try:
        args, unknown = parser.parse_known_args(argv)
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    if unknown:
        options = [text for action in parser._actions for text in action.option_strings]
        raise ValueError(_unknown("option", unknown[0], options))
    return module.run(args)


def _unknown(what: str, given: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(given, valid, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"valid: {', '.join(valid)}"
    return f"unknown {what} {given!r}: {hint}"


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    if len(lines) > 1 and "in DataLoader worker process" in lines[0]:  # a traceback comes along
        lines = [lines[-1].partition(": ")[2] or lines[-1]]
    return " ".join(" ".join(lines).split()) or type(error).__name__


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return (
        f"surform {surform.__version__}: surrogate transformers\n\n"
        f"usage: surform COMMAND [options]\n\n{rows}\n\n"
        "  surform COMMAND --help shows the options of a command and an example\n"
        "  --traceback (or SURFORM_TRACEBACK=1) shows errors in full\n\n"
        "example:\n  surform fit --config operators/quickstart"
    )
