"""PyFormer: mahmad00/PyFormer@2c5b83690b7f, one notebook of TensorFlow and Keras.

A constructor is {"WS": window, "k": components, "num_classes": classes}; the notebook fixes the
rest, and weights tell all of it. `layers`, `levels`, `heads`, `filters` and `hidden` may name what
a changed notebook has instead.

Keras 3 on torch multiplies the matrices of dense layers, and norms, in float32 even where all else
is float64: its result type of two float64 is float32, unless it runs on TensorFlow. With this one
entry of its table changed, it gives what ours does to 2e-16. So the records' outputs hold noise of
float32, which depends on the order of sums, though they are stored in float64; their pyramids, made
of convolutions alone, hold none.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.pyformer_keys import to_official, to_ours

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_ORDERS = 16  # of summation in which float32 is tried; the worst is allowed
_OURS = {"filters": "filters", "levels": "levels", "layers": "depth", "heads": "heads"}
_OURS |= {"hidden": "hidden"}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no PyFormer: choose model")
    return "pyformer", {
        "window": constructor["WS"],
        "in_channels": constructor["k"],
        "num_classes": constructor["num_classes"],
        **{ours: constructor[name] for name, ours in _OURS.items() if name in constructor},
    }


def _infer(state: State) -> Arguments:
    """All of a network: every size leaves a trace in the arrays' shapes."""
    convolutions = [key for key in state if key.startswith("Conv3D_") and key.endswith("kernel")]
    layers = sum(key.startswith("LayerNormalization_") and key.endswith("gamma") for key in state)
    dim, heads, k = state["MultiHeadAttention_0/query/kernel"].shape
    length, hidden = state["Dense_0/kernel"].shape
    filters = tuple(state[f"Conv3D_{place}/kernel"].shape[-1] for place in (0, 1))
    return {
        "WS": round((length / (dim * k)) ** 0.5),
        "k": k,
        "num_classes": state["Dense_1/kernel"].shape[1],
        "filters": filters,
        "levels": len(convolutions) // 2 - layers,
        "layers": layers,
        "heads": heads,
        "hidden": hidden,
    }


def _complete(constructor: Arguments, state: State) -> Arguments:
    """With the widths that a changed notebook has; ValueError where it is another network's."""
    try:
        found = _infer(state)
    except KeyError as error:
        raise ValueError(f"the arrays are no PyFormer's: they lack {error}") from error
    for name in ("WS", "k", "num_classes"):
        if name in constructor and constructor[name] != found[name]:
            raise ValueError(
                f"{name} is {constructor[name]}, but the arrays are those of {found[name]}"
            )
    return found | constructor


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    if type(net).__name__ != "PyFormer":
        return None
    given = net.__dict__["arguments"]
    return {
        "WS": given["window"],
        "k": given["in_channels"],
        "num_classes": given["num_classes"],
        **{name: given[ours] for name, ours in _OURS.items()},
    }


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Official cubes are (batch, rows, columns, components, 1), outputs are probabilities."""
    whole = _complete(fixture.constructor, fixture.named("param"))
    model = SYSTEM.build(replace(fixture, constructor=whole), dtype)
    inputs = fixture.inputs(dtype)
    patches = inputs["cube"].squeeze(-1).permute(0, 3, 1, 2)
    pyramids: list[Tensor] = []
    blocks: Any = model.blocks
    blocks[0].register_forward_pre_hook(lambda _, given: pyramids.append(given[0]))
    found = torch.softmax(model(patches), -1)
    slack = {"out/out": _rounding(model, patches.detach(), found.detach())}
    return Replay({"out": found}, inputs, model, mid={"pyramid": pyramids[0]}, slack=slack)


@torch.no_grad()
def _rounding(model: nn.Module, patches: Tensor, exact: Tensor) -> float:
    """How far outputs move, at most, where Keras on torch computes in float32."""
    worst = 0.0
    for seed in range(_ORDERS):
        rounded, order = copy.deepcopy(model), torch.Generator().manual_seed(seed)
        for module in rounded.modules():
            if isinstance(module, nn.LayerNorm):
                module.register_forward_hook(_norm_in_float32)
        for name in ("hidden", "head"):
            setattr(rounded, name, _Dense(getattr(model, name), order))
        worst = max(worst, float((torch.softmax(rounded(patches), -1) - exact).abs().max()))
    return worst


def _norm_in_float32(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return type(module).forward(copy.deepcopy(module).float(), inputs[0].float()).to(output.dtype)


class _Dense(nn.Module):
    """A linear map whose product is made in float32, its terms in a random order."""

    def __init__(self, layer: nn.Linear, generator: torch.Generator) -> None:
        super().__init__()
        self.order = torch.randperm(layer.in_features, generator=generator)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.layer.weight.T[self.order].contiguous()  # as Keras stores it
        return (x[:, self.order].float() @ kernel.float()).to(x.dtype) + self.layer.bias


SYSTEM = System(
    name="pyformer",
    kinds={"model": _replay},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    infer=_infer,
    complete=_complete,
    describe=_describe,
    surrogate="scenes",
)
