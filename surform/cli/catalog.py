"""Everything that has a name: models, shipped weights, recipes, solvers, official systems."""

from __future__ import annotations

import re
from pathlib import Path

from surform import registry
from surform.cli.source import read_summary
from surform.data.solvers import SOLVERS
from surform.hub.index import entries
from surform.recipes import list_recipes

__all__ = ["SECTIONS", "catalog", "recipe_header", "summary_of"]

SECTIONS = ("models", "pretrained", "recipes", "solvers", "official")


def catalog() -> dict[str, dict[str, str]]:
    """Section -> name -> where it lives ("module:name" or a file); imports nothing of it."""
    shipped = Path(registry.__file__).parent / "hub" / "models"
    return {
        "models": registry.names("models"),
        "pretrained": {name: str(shipped / name) for name in entries()},
        "recipes": {name: str(path) for name, path in list_recipes().items()},
        "solvers": dict(SOLVERS),
        "official": registry.names("official"),
    }


def summary_of(section: str, name: str, where: str) -> str:
    """One line on an entry; empty when its source cannot be read."""
    if section == "pretrained":
        return entries()[name]["summary"]
    if section == "recipes":
        return next(iter(recipe_header(where)), "")
    if section == "official":
        return ""
    try:
        return read_summary(where)
    except (OSError, ValueError, SyntaxError):
        return ""


def recipe_header(file: str) -> list[str]:
    """The comment lines that a recipe begins with."""
    lines = []
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        match = re.match(r"#\s?(.*)", line)
        if match is None:
            break
        lines.append(match.group(1).rstrip())
    return lines
