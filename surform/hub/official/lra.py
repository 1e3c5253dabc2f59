"""Long Range Arena: google-research/long-range-arena@cd31e5c6b8e5, its generator of ListOps.

A case holds lists of samples in its JSON: `short` and `long`, each with source, target and length.
They are what the generator draws from a seed, keeping the lengths between two bounds.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from surform.data.solvers.listops_trees import draw_tree, evaluate, text_of
from surform.hub.official.fixture import Fixture, Replay, System

__all__ = ["SYSTEM"]

# list -> seed of Python's generator, and the lengths between which those of the list lie; a case's
# options may give others
_LISTS = {
    "short": {"seed": 0, "above": 5, "below": 60},
    "long": {"seed": 1, "above": 500, "below": 2000},
}


def _listops(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Sources as bytes, targets and lengths of every list, drawn in the recorded order."""
    found: dict[str, Tensor] = {}
    for name, bounds in _LISTS.items():
        said = fixture.options.get(name, {})
        seed, low, high = (said.get(word, value) for word, value in bounds.items())
        count = len(fixture.header.get(name, ()))
        found |= _drawn(name, count, seed, low, high, fixture.constructor)
    return Replay(found, {}, nn.Module())


def _drawn(
    name: str, count: int, seed: int, low: int, high: int, given: dict[str, Any]
) -> dict[str, Tensor]:
    generator, rows = random.Random(seed), []
    while len(rows) < count:
        tree, length = draw_tree(generator, given["max_depth"], given["max_args"])
        if low < length < high:
            rows.append((text_of(tree), evaluate(tree), length))
    if not rows:
        return {}
    sources, targets, lengths = zip(*rows, strict=True)
    return {
        f"{name}.source": torch.tensor(list("\n".join(sources).encode())),
        f"{name}.target": torch.tensor(targets),
        f"{name}.length": torch.tensor(lengths),
    }


def _no_model(*_: Any, **__: Any) -> Any:
    raise ValueError("lra describes data, there is no model to convert")


SYSTEM = System(
    name="lra",
    kinds={"listops": _listops},
    arguments=_no_model,
    to_ours=_no_model,
    to_official=_no_model,
    surrogate="sequences",
    modes=("eval", "train", "n/a"),
)
