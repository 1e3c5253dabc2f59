"""Damage to JSON that stays JSON: keys removed or renamed, values of other types and sizes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

__all__ = ["damaged_json"]

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 1.5, -2.5, 1e308, 2**31, 2**63, 2**70, -(2**63), 10**400,
    float("nan"), float("inf"), "", "x", "1", "nan", "../../x", "/dev/zero", "\0", "é", [], [None],
    [[[]]], [1, "a"], {}, {"a": 1}, {"": {}}, [0] * 50, ["x", "x"],
)  # fmt: skip


def damaged_json(values: Any, draw: Random) -> bytes:
    """One fault, written with the same keys in the same order."""
    values = copy.deepcopy(values)
    places = list(_places(values))
    if not places or draw.random() < 0.02:
        return _written(draw.choice(_VALUES))
    # the first levels, where the structure is, as often as the many numbers below
    shallow = [place for place in places if place[2] <= 3]
    holder, key, _ = draw.choice(shallow if draw.random() < 0.6 else places)
    kind = draw.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    elif kind == 1:
        holder.append(copy.deepcopy(holder[key]))
    elif kind == 2:
        other_holder, other, _ = draw.choice(places)
        holder[key] = copy.deepcopy(other_holder[other])
    else:
        holder[key] = _changed(holder[key], draw)
    return _written(values)


def _places(values: Any, depth: int = 1) -> Iterator[tuple[Any, Any, int]]:
    """(holder, key, depth) of everything inside."""
    if not isinstance(values, dict | list):
        return
    for key in list(values) if isinstance(values, dict) else range(len(values)):
        yield values, key, depth
        yield from _places(values[key], depth + 1)


def _changed(value: Any, draw: Random) -> Any:
    """Another value; often of the same type, which gets past the first checks."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and draw.random() < 0.4:
        more = value + 0.5 if abs(value) < 2**1000 else value  # what is larger is no float
        return draw.choice((-value, value + 1, value * 1000, 0, more))
    if isinstance(value, list) and value and draw.random() < 0.4:
        return draw.choice((value[:-1], value * 2, [value], value[0]))
    return copy.deepcopy(draw.choice(_VALUES))


def _written(values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
