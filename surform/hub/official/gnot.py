"""GNOT and CGPTNO: thu-ml/GNOT@5ee2e6925a43.

The official constructors give `trunk_size`, the columns of points and parameters together. How
many of them are parameters is the option `parameters`; without it all columns but the `space_dim`
leading ones, and none where the constructor has no `space_dim`: parameters are then columns of the
points. The option `legacy_padding` (true) lets the zeros of padded batches take part in all sums,
as the official code does; samples on their own are the same without it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.gnot_keys import DROPPED, to_official, to_ours

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
_NAMES = {"gnot": "gnot", "cgpt": "cgptno"}
# official name -> (ours, official default)
_OPTIONAL = {
    "output_size": ("out_channels", 3),
    "n_layers": ("depth", 2),
    "n_hidden": ("dim", 64),
    "n_head": ("heads", 1),
    "mlp_layers": ("mlp_depth", 2),
    "act": ("activation", "gelu"),
    "ffn_dropout": ("dropout", 0.0),
    "attn_dropout": ("attention_dropout", 0.0),
    "horiz_fourier_dim": ("horiz_fourier_dim", 0),
}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    options = options or {}
    gated = "n_experts" in constructor or "space_dim" in constructor
    kind = ("gnot" if gated else "cgpt") if kind is None else kind
    if kind not in _NAMES:
        raise ValueError(f"kind {kind!r} is no GNOT model: choose gnot or cgpt")
    if constructor.get("attn_type", "linear") != "linear":
        raise ValueError(f"attn_type {constructor['attn_type']!r} is not supported: choose linear")
    if kind == "cgpt" and gated:
        raise ValueError(
            "CGPTNO takes no n_experts and no space_dim: leave them out, or choose gnot"
        )
    ours = {our: constructor.get(name, default) for name, (our, default) in _OPTIONAL.items()}
    width, space = constructor.get("trunk_size", 2), constructor.get("space_dim")
    parameters = options.get("parameters", 0 if space is None else width - space)
    ours |= {
        "in_channels": width - parameters,
        "parameters": parameters,
        "input_channels": tuple(constructor.get("branch_sizes") or ()),
        "legacy_padding": bool(options.get("legacy_padding", True)),
    }
    if kind == "gnot":
        ours |= _gated(constructor)
    return _NAMES[kind], ours


def _gated(constructor: Arguments) -> Arguments:
    if constructor.get("horiz_fourier_dim"):
        raise ValueError(
            "the official GNOT cannot run with horiz_fourier_dim > 0, so there is no such model"
        )
    return {
        "experts": constructor.get("n_experts", 2),
        "space_dim": constructor.get("space_dim", 2),
        "mlp_ratio": float(constructor.get("n_inner", 4)),
    }


def _infer(state: dict[str, Tensor]) -> Arguments:
    """Never enough: heads and activation leave no trace in the weights."""
    hidden, trunk = state["trunk_mlp.linear_pre.weight"].shape
    count = {
        name: 1 + max((int(m[1]) for k in state if (m := re.match(pattern, k))), default=-1)
        for name, pattern in (
            ("n_layers", r"blocks\.(\d+)\."),
            ("mlp_layers", r"trunk_mlp\.linears\.(\d+)\."),
            ("inputs", r"branch_mlps\.(\d+)\."),
        )
    }
    found: Arguments = {
        "trunk_size": trunk,
        "branch_sizes": [
            state[f"branch_mlps.{j}.linear_pre.weight"].shape[1] for j in range(count.pop("inputs"))
        ],
        "output_size": len(state["out_mlp.linear_post.weight"]),
        "n_hidden": hidden,
        **count,
    }
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"the weights tell {read}, but not n_head, act and horiz_fourier_dim: give the official "
        "constructor arguments"
    )


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """The loader's padding, the model, and the rows of the samples one after the other."""
    inputs = fixture.inputs(dtype)
    points = _samples(inputs, lambda i: f"x{i}")
    if not points:
        raise ValueError(f"{fixture.path.name} lacks the input in/x0")
    theta = inputs.get("theta")
    count = 0 if theta is None else theta.shape[1]
    options = {"parameters": count} | fixture.options
    model = SYSTEM.build(dataclasses.replace(fixture, options=options), dtype)
    functions = [
        _samples(inputs, lambda i, j=j: f"f{j}_{i}")
        for j in range(len(fixture.constructor.get("branch_sizes") or ()))
    ]
    mid = _watch(model)
    y = model(
        _padded(points),
        theta,
        [_padded(samples) for samples in functions],
        mask=_mask(points),
        input_masks=[_mask(samples) for samples in functions],
    )
    rows = torch.cat([y[i, : len(x)] for i, x in enumerate(points)])
    return Replay({"y": rows}, inputs, model, mid=mid)


def _samples(inputs: dict[str, Tensor], name: Callable[[int], str]) -> list[Tensor]:
    found = []
    while name(len(found)) in inputs:
        found.append(inputs[name(len(found))])
    return found


def _padded(samples: list[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(samples, batch_first=True)


def _mask(samples: list[Tensor]) -> Tensor:
    return _padded([torch.ones(len(x), dtype=torch.bool, device=x.device) for x in samples])


def _watch(model: nn.Module) -> dict[str, Tensor]:
    """Fill the returned dict with the fixture's intermediate tensors while the model runs."""
    mid: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _, __, out: mid.__setitem__(name, out.detach()))

    def keep_input(name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _, args: mid.__setitem__(name, args[0].detach()))

    keep("trunk", model.get_submodule("trunk"))
    layers = list(model.get_submodule("layers").children())
    following = [layer.get_submodule("cross_norm") for layer in layers[1:]]
    following.append(model.get_submodule("head"))
    for i, (layer, after) in enumerate(zip(layers, following, strict=True)):
        keep(f"cross{i}", layer.get_submodule("cross_attention"))
        keep(f"self{i}", layer.get_submodule("self_attention"))
        keep_input(f"block{i}", after)
        if (gate := layer._modules.get("gate")) is not None:
            keep(f"gate{i}", gate)
    return mid


SYSTEM = System(
    name="gnot",
    kinds={"gnot": _replay, "cgpt": _replay},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=DROPPED,
    infer=_infer,
    surrogate="points",
    noise=("dropout", "attention_dropout"),
)
