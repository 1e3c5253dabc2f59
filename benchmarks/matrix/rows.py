"""The quick columns: what recipes, the index, converters and kept results say of every model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.matrix.gains import against_literal
from benchmarks.matrix.peers import against_peer
from benchmarks.matrix.pretrained import shipped
from benchmarks.matrix.recorded_calls import GOLDEN, cases_of_models
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, verify_case
from surform.registry import names

__all__ = ["QUICK", "reaches", "rows"]

QUICK = ("golden cases", "official weights", "recipe: reached", "pretrained", "after training")
_RECIPES = Path(__file__).parents[2] / "surform" / "recipes"
_LONGEST = 110  # letters of a figure in words
_UNTRAINED = "not |little|depends|see |to be |as "  # how a recipe says that it has none
_AFTER = {
    "fields": "predict, rollout",
    "points": "predict, rollout",
    "series": "predict, backtest",
    "images": "predict",
    "pose": "predict (photos, films)",
    "atoms": "predict, relax, md, ASE",
    "audio": "predict",
    "policy": "closed loop",
    "embodied_policy": "closed loop",
    "decisions": "closed loop",
    "ranking": "predict, serving",
    "scenes": "predict (whole scenes)",
    "jets": "predict",
    "sequences": "predict",
}


def rows(*, replay: bool = True) -> list[dict[str, str]]:
    """One per model that a golden case, a recipe or the index has; golden cases are replayed."""
    systems, cases, recipes, index = _systems(), cases_of_models(), _recipes(), _index()
    passed = _replayed() if replay else {}
    listed = [n for n in names("models") if n in cases or n in recipes or n in index]
    found = []
    for name in listed:
        official = systems.get(name)
        tasks = sorted({recipe["task"] for recipe in recipes.get(name, [])})
        row = {
            "model": name,
            "golden cases": passed.get(official or "", "no official code"),
            "official weights": official or "no official code",
            "recipe: reached": _reached(recipes.get(name, [])),
            "pretrained": shipped(name, index.get(name, [])),
            "after training": "; ".join(_AFTER.get(t, "") for t in tasks)
            or "part or variant of others",
        }
        row |= {"against literal": against_literal(name), "against peer": against_peer(name)}
        found.append(row)
    return found


def _systems() -> dict[str, str]:
    """Model -> the official code base that its weights are read from."""
    return {name: Fixture.load(paths[0]).system for name, paths in cases_of_models().items()}


def _replayed() -> dict[str, str]:
    """Official code base -> how many of its golden cases pass."""
    counts: dict[str, list[bool]] = {}
    for path in find_cases([GOLDEN]):
        fixture = Fixture.load(path)
        needs_files = fixture.system == "forecasting_data"
        if not needs_files:
            counts.setdefault(fixture.system, []).append(verify_case(fixture).passed)
    return {system: f"{sum(found)} of {len(found)}" for system, found in counts.items()}


def _recipes() -> dict[str, list[dict[str, str]]]:
    """Model -> its recipes: name, task, what it reaches."""
    found: dict[str, list[dict[str, str]]] = {}
    for path in sorted(_RECIPES.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        model = yaml.safe_load(text)["model"]
        recipe = {
            "name": str(path.relative_to(_RECIPES).with_suffix("")),
            "task": str(model["class_path"]),
            "reached": reaches(text),
        }
        for net in set(_nets(model["init_args"])):
            found.setdefault(net, []).append(recipe)
    return found


def _nets(value: Any) -> Iterator[str]:
    """Registered networks anywhere below a key `net`."""
    if isinstance(value, dict):
        net = value.get("net")
        if isinstance(net, dict) and "class_path" in net:
            yield str(net["class_path"])
        for part in value.values():
            yield from _nets(part)


def reaches(text: str) -> str:
    """The recipe's "Reaches:", its first sentence without brackets, commands and conditions."""
    match = re.search(r"^# Reaches:(.*(?:\n#  .*)*)", text, re.MULTILINE)
    words = " ".join(match[1].replace("#", " ").split()) if match else ""
    words = re.sub(r" ?\([^()]*\)", "", words)
    words = re.split(r", after |, with the |(?<=[^.\d])[.;:] |\.$", words, maxsplit=1)[0]
    return words if len(words) <= _LONGEST else words[:_LONGEST].rpartition(",")[0] or words


def _reached(recipes: list[dict[str, str]]) -> str:
    """The first recipe with a figure; or that none has been trained."""
    if not recipes:
        return "no recipe: a part or a variant of others"
    for recipe in recipes:
        words = recipe["reached"]
        if re.search(r"\d", words) and not re.match(_UNTRAINED, words):
            return f"{recipe['name']}: {words}"
    return f"{recipes[0]['name']}: not trained here"


def _index() -> dict[str, list[str]]:
    """Model -> pretrained models of it."""
    from surform.hub import index

    listed = json.loads(Path(index.__file__).with_name("index.json").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for name, entry in listed.items():
        found.setdefault(entry["net"], []).append(name)
    return found
