"""The space that `surform tune` searches: which options, and which values each may take."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surform.cli.fit_config import load_mapping, parse_value

if TYPE_CHECKING:
    import optuna

__all__ = ["Choices", "Range", "Space", "parse_space", "word"]

_FORMS = "write LOW:HIGH, log:LOW:HIGH or [A, B, ...]"

# What trials are compared on: figures of different seeds, splits or metrics do not compare.
_FIXED = (
    *("seed_everything", "model.monitor", "data.path", "data.generate", "data.protocol"),
    *("data.split", "data.split_seed"),
)


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included; whole ones where both are integers."""

    key: str
    text: str
    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> list[Any]:
        """Values that show whether the option takes such a range."""
        return [self.low, self.high]

    def size(self) -> float:
        return self.high - self.low + 1 if self.whole else math.inf

    def holds(self, value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        whole = isinstance(value, int) or not self.whole
        return number and whole and self.low <= value <= self.high

    def suggest(self, trial: optuna.Trial) -> Any:
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def draw(self, dice: random.Random) -> Any:
        """A value as Optuna stores it; of whole ones only."""
        return dice.randint(int(self.low), int(self.high))

    def stored(self, value: Any) -> Any:
        return value

    def loaded(self, label: Any) -> Any:
        return label

    def of_reals(self) -> Range:
        """The same range for an option that takes any number."""
        return replace(self, low=float(self.low), high=float(self.high))


@dataclass(frozen=True)
class Choices:
    """One of some values, whatever a recipe may hold; Optuna stores the plain ones only."""

    key: str
    text: str
    values: tuple[Any, ...]

    def ends(self) -> list[Any]:
        return list(self.values)

    def size(self) -> float:
        return len(self.values)

    def holds(self, value: Any) -> bool:
        return value in self.values

    def suggest(self, trial: optuna.Trial) -> Any:
        labels = [self.stored(value) for value in self.values]
        return self.loaded(trial.suggest_categorical(self.key, labels))

    def draw(self, dice: random.Random) -> Any:
        return self.stored(dice.choice(self.values))

    def stored(self, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, (list, dict)) else value

    def loaded(self, label: Any) -> Any:
        return next(value for value in self.values if self.stored(value) == label)


Space = dict[str, Range | Choices]


def parse_space(words: Sequence[str]) -> Space:
    """The space that words NAME=VALUES and YAML files describe; later ones win.

    Raises:
        ValueError: a word says nothing, or its values are none; names it.
    """
    space: Space = {}
    for text in words:
        key, equals, values = text.partition("=")
        if equals:
            space[key] = _parameter(key, values)
        elif text.endswith((".yaml", ".yml")):
            space |= _read(Path(text))
        else:
            raise ValueError(
                f"--search {text}: neither NAME=VALUES, such as model.net.dropout=0:0.4, nor a "
                "file .yaml"
            )
    return space


def word(key: str, value: Any) -> str:
    """A value of an option as the command line has it."""
    return f"--{key}={json.dumps(value)}"


def _read(path: Path) -> Space:
    if not path.is_file():
        raise FileNotFoundError(f"--search: there is no file {path}")
    return {key: _parameter(key, values) for key, values in _flat(load_mapping(path))}


def _flat(node: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested or dotted names, both as on the command line."""
    found = []
    for name, value in node.items():
        inside = isinstance(value, dict) and bool(value)
        found += _flat(value, f"{prefix}{name}.") if inside else [(f"{prefix}{name}", value)]
    return found


def _parameter(key: str, values: Any) -> Range | Choices:
    where = f"--search {key}"
    for fixed in _FIXED:
        if key == fixed or key.startswith(f"{fixed}."):
            raise ValueError(f"{where}: trials with another {fixed} could not be compared")
    text = values if isinstance(values, str) else json.dumps(values)
    found = parse_value(text)
    if isinstance(found, list):
        return _choices(where, key, text, found)
    return _range(where, key, text)


def _choices(where: str, key: str, text: str, values: list[Any]) -> Choices:
    if len(values) < 2:
        raise ValueError(f"{where}={text}: there is nothing to choose, name two values or more")
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{where}={text}: {value!r} is named twice")
    return Choices(key, text, tuple(values))


def _range(where: str, key: str, text: str) -> Range:
    *kind, low, high = text.split(":") if text.count(":") in (1, 2) else ("?", "", "")
    if kind not in ([], ["log"]):
        raise ValueError(f"{where}={text}: {_FORMS}")
    log = bool(kind)
    first, last = _number(where, text, low), _number(where, text, high)
    if first >= last:
        raise ValueError(f"{where}={text}: the range is empty, {low} is not below {high}")
    if log and first <= 0:
        raise ValueError(f"{where}={text}: a range by orders of magnitude begins above 0")
    if isinstance(first, int) and isinstance(last, int):
        return Range(key, text, first, last, log)
    return Range(key, text, float(first), float(last), log)


def _number(where: str, text: str, part: str) -> float:
    part = part.strip()
    if re.fullmatch(r"[-+]?\d+", part):
        return int(part)
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}={text}: {part!r} is no number; {_FORMS}")
    return value
