"""What the command lines share: exact option names, one-line errors; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["Parser", "check_options", "run_first"]


class Parser(argparse.ArgumentParser):
    """argparse with exact option names and one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def run_first(argv: Sequence[str]) -> list[str]:
    """The line with `--ckpt_path` before its first word, if that is a run or a model.

    Only the first word: others that stand alone are values of a recipe's options.
    """
    line = list(argv)
    given = any(word.partition("=")[0] == "--ckpt_path" for word in line)
    if line and line[0] and not line[0].startswith("-") and not given:
        line.insert(0, "--ckpt_path")
    return line


def check_options(parser: argparse.ArgumentParser, overrides: Sequence[str]) -> None:
    """ValueError for an option that neither the command nor a recipe has."""
    from surform.cli.fit_config import SECTIONS, closest

    own = [text[2:] for action in parser._actions for text in action.option_strings]
    for word in overrides:
        name = word[2:].partition("=")[0]
        first = name.partition(".")[0].rstrip("+")
        if word.startswith("--") and name and first not in SECTIONS:
            known = [*SECTIONS, *(text for text in own if len(text) > 1)]
            raise ValueError(f"unknown option --{name}: {closest(first, known, '--')}")
