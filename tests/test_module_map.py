"""The page that says where things are says what the import contract says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "module-map.md").read_text(encoding="utf-8")


def test_the_rows_are_the_layers_of_the_contract() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = told["tool"]["importlinter"]["contracts"][0]["layers"]
    wanted = [sorted(layer.split(" | ")) for layer in layers]
    rows = re.findall(r"^\| (`surform\.[^|]*) \|", PAGE, re.MULTILINE)
    assert [sorted(re.findall(r"`([^`]*)`", row)) for row in rows] == wanted


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in (ROOT / "surform").glob("*/__init__.py")}
    assert {name for name in packages if f"`surform.{name}`" not in PAGE} == set()
