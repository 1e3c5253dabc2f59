"""The first call that a golden case makes of a model: the smallest honest example of its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.matrix.call import Call
from benchmarks.matrix.example_calls import EXAMPLES, example_call
from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, system_of
from surform.registry import find, names

__all__ = ["callable_models", "cases_of_models", "first_call", "recorded_call"]

# replays that look inside call these instead of the model
_METHODS = {
    "informer": "forward_from",
    "informer_stack": "forward_from",
    "passt": "features",
    "pathformer": "forecast_and_penalty",
    "vitpose_plus": "all_heads",
}
GOLDEN = Path(__file__).parents[2] / "tests" / "golden"


@cache  # every case is opened
def cases_of_models() -> dict[str, list[Path]]:
    """Registered model -> golden cases that replay it; cases of parts and data are left out."""
    known = names("models")
    found: dict[str, list[Path]] = {}
    for path in find_cases([GOLDEN]):
        fixture = Fixture.load(path)
        try:
            name, _ = system_of(fixture).arguments(
                fixture.constructor, kind=fixture.kind, options=fixture.options
            )
        except (ValueError, LookupError, TypeError, AttributeError):  # of a part, or of data
            continue
        if name in known:
            found.setdefault(name, []).append(path)
    return found | {"rt1": sorted((GOLDEN / "rt1").glob("*.json"))}


def callable_models() -> dict[str, list[Path]]:
    """Registered model -> its golden cases; of those that only we call, maybe none."""
    return {name: [] for name in EXAMPLES} | cases_of_models()


def recorded_call(path: Path, name: str) -> Call | None:
    """What the replay of a case calls model `name` with first; None: it calls only parts of it."""
    fixture = Fixture.load(path)
    kind, method = find("models", name), _METHODS.get(name, "__call__")
    calls: list[Call] = []
    with _calls_of(kind, method, calls):
        system_of(fixture).kinds[fixture.kind](fixture, fixture.dtype)
    if not calls or method == "__call__":
        return calls[0] if calls else None
    arguments, keywords = calls[0].arguments, calls[0].keywords
    return Call(_Method(calls[0].model, method), arguments, keywords)


def first_call(name: str, paths: list[Path]) -> Call | None:
    """That of the first case whose replay calls the whole model, or our own small one."""
    if name in EXAMPLES:
        return example_call(name)
    return next((call for call in (recorded_call(path, name) for path in paths) if call), None)


class _Method(nn.Module):
    """A model called by another of its methods."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return getattr(self.model, self.method)(*arguments, **keywords)


@contextmanager
def _calls_of(kind: type[nn.Module], method: str, calls: list[Call]) -> Iterator[None]:
    own, inherited = kind.__dict__.get(method), getattr(kind, method)

    def recording(self: nn.Module, *arguments: Any, **keywords: Any) -> Any:
        if type(self) is kind:
            # lists that the call fills are no inputs
            given = {key: value for key, value in keywords.items() if value != []}
            calls.append(Call(self, arguments, given))
        return inherited(self, *arguments, **keywords)

    setattr(kind, method, recording)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        if own is None:
            delattr(kind, method)
        else:
            setattr(kind, method, own)
