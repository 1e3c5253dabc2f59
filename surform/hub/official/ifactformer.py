"""IFactFormer: huiyu-2002/IFactFormer-m@3f110da556d4 ("head") and @447c390e2b5e ("first").

The constructor does not say of which release a model is; the names of its weights do.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.ifactformer_keys import release_of, to_official, to_ours

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
_NAMES = {
    "in_dim": "in_channels",
    "out_dim": "out_channels",
    "in_time_window": "input_steps",
    "dim": "dim",
    "depth": "depth",
    "n_layer": "iterations",
    "heads": "heads",
    "dim_head": "head_dim",
}
_MIXING = {"modified": "parallel", "original": "chained"}
_MODELS = {"IFactFormer_m": "modified", "IFactFormer_o": "original"}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    ours = {our: constructor[official] for official, our in _NAMES.items()}
    if "kernel_multiplier" in constructor:
        ours["kernel_multiplier"] = constructor["kernel_multiplier"]
    given = options or {}
    variant = _agreed("variant", _variant(constructor), given.get("variant"), list(_MIXING))
    release = _agreed(
        "release", constructor.get("release"), given.get("release"), ["head", "first"]
    )
    return "ifactformer", ours | {"mixing": _MIXING[variant], "release": release}


def _variant(constructor: Arguments) -> str | None:
    model = constructor.get("model")
    if model is None:
        return None
    if model in _MODELS:
        return _MODELS[model]
    raise ValueError(f"model is {model!r}, but must be one of {', '.join(_MODELS)}")


def _agreed(what: str, told: str | None, asked: str | None, choices: list[str]) -> str:
    """What the model itself tells or an option says; ValueError unless it is one thing."""
    found = {x for x in (told, asked) if x is not None}
    if not found:
        raise ValueError(f"give the option {what}, one of {', '.join(choices)}")
    if len(found) > 1:
        raise ValueError(f"the option {what} is {asked!r}, but the model is of {what} {told!r}")
    value = found.pop()
    if value not in choices:
        raise ValueError(f"{what} is {value!r}, but must be one of {', '.join(choices)}")
    return value


def _complete(constructor: Arguments, state: dict[str, Tensor]) -> Arguments:
    release = release_of(state)
    return constructor if release is None else {**constructor, "release": release}


def _keep(mid: dict[str, Tensor], name: str, module: nn.Module) -> None:
    """Keep the module's first output."""

    def keep(_: nn.Module, __: Any, out: Tensor) -> None:
        mid.setdefault(name, out.detach())

    module.register_forward_hook(keep)


def _keep_update(mid: dict[str, Tensor], name: str, block: nn.Module) -> None:
    """Keep the block's first update as it is: in our steps it comes scaled, and added to u."""

    def keep(module: nn.Module, arguments: Any, _: Any) -> None:
        handle.remove()
        with torch.no_grad():
            mid[name] = module(*arguments)

    handle = block.register_forward_hook(keep)


def _channel(fixture: Fixture, dtype: torch.dtype) -> Replay:
    given = _complete(fixture.constructor, fixture.parameters(dtype))
    model = SYSTEM.build(dataclasses.replace(fixture, constructor=given), dtype)
    inputs, mid = fixture.inputs(dtype), {}
    layers = list(model.get_submodule("layers").children())
    _keep_update(mid, "fa_first", layers[0].get_submodule("block"))
    for axis, kernel in zip("xyz", layers[0].get_submodule("block.axes").children(), strict=True):
        _keep(mid, f"kernel_{axis}_first", kernel)
    _keep(mid, "encoder_out", layers[-1])
    positions = [inputs[f"pos_{axis}"].flatten() for axis in "xyz"]
    y = model(inputs["u"], positions).squeeze(1)
    back = functools.partial(to_official, constructor=given)
    return Replay({"y": y}, inputs, model, mid=mid, to_official=back)


SYSTEM = System(
    name="ifactformer",
    kinds={"channel": _channel},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    complete=_complete,
)
