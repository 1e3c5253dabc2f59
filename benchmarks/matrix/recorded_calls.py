"""The first call that a golden case makes of a model: the smallest honest example of its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from surform.hub.official.fixture import Fixture
from surform.hub.verify import find_cases, system_of
from surform.registry import create_model, find, names

__all__ = ["Call", "cases_of_models", "first_call", "recorded_call", "tensors"]

# replays that look inside call these instead of the model
_METHODS = {
    "informer": "forward_from",
    "informer_stack": "forward_from",
    "passt": "features",
    "pathformer": "forecast_and_penalty",
    "vitpose_plus": "all_heads",
}
GOLDEN = Path(__file__).parents[2] / "tests" / "golden"


@dataclass
class Call:
    """A model and what it was called with."""

    model: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def to(self, dtype: torch.dtype) -> Call:
        """Weights and numbers in another precision; whole numbers and masks as they are."""

        def cast(value: Tensor) -> Tensor:
            value = value.detach()
            return value.to(dtype) if value.is_floating_point() else value

        arguments, keywords = tree_map_only(Tensor, cast, (self.arguments, self.keywords))
        return Call(self.model.to(dtype), arguments, keywords)

    def on(self, device: str) -> Call:
        """All of it on another device."""
        given = (self.arguments, self.keywords)
        arguments, keywords = tree_map_only(Tensor, lambda value: value.to(device), given)
        return Call(self.model.to(device), arguments, keywords)

    def run(self) -> list[Tensor]:
        """Tensors of real numbers that come out, in the order of the output's leaves."""
        found = self.model(*self.arguments, **self.keywords)
        return tensors(found)


def tensors(found: Any) -> list[Tensor]:
    """The leaves that hold real numbers; of a dataclass, those of its fields."""
    if isinstance(found, Tensor):
        return [found] if found.is_floating_point() else []
    if isinstance(found, dict):
        found = list(found.values())
    elif hasattr(found, "__dataclass_fields__"):
        found = [getattr(found, name) for name in found.__dataclass_fields__]
    if not isinstance(found, list | tuple):
        return []
    return [leaf for part in found for leaf in tensors(part)]


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
    """That of the first case whose replay calls the whole model; of RT-1 a small one of our own."""
    if name == "rt1":
        return _small_rt1()
    return next((call for call in (recorded_call(path, name) for path in paths) if call), None)


def _small_rt1() -> Call:
    """Its cases are of its parts: the whole is an EfficientNet-B3 and too large for a file."""
    torch.manual_seed(0)
    model = create_model(
        "rt1", fields=(("move", 2, -1.0, 1.0), ("grip", 3)), dim=12, depth=2, heads=3, head_dim=5,
        vocab_size=7, token_dim=10, frames=3, image_tokens=2, bottleneck=6, instruction_dim=4,
        encoder="tf_efficientnet_b0", image_size=64,
    )  # fmt: skip
    return Call(model.eval(), (torch.rand(2, 3, 3, 48, 70), torch.randn(2, 4)), {})


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
