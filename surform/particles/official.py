"""JetFormer: walkieq/JetFormer@14e493a880789d2aa4bea2af6490b1083ea4f233."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.particles.official_keys import (
    DROPPED,
    NORMS,
    norm_kind,
    to_official,
    to_ours,
    without_norms,
)

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_ACTIVATIONS = {"ReLU": "relu", "SiLU": "silu"}
# official argument, ours, the official default
_SIZES = (
    ("in_dim", "in_channels", 16),
    ("num_classes", "num_classes", 5),
    ("embbed_dim", "dim", 128),
    ("num_transformers", "depth", 4),
    ("num_heads", "heads", 2),
    ("dropout", "dropout", 0.0),
)


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no JetFormer: choose model")
    activation = constructor.get("activation", "ReLU")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, but must be ReLU or SiLU")
    ours = {own: constructor.get(official, default) for official, own, default in _SIZES}
    ours |= {"activation": _ACTIVATIONS[activation], "norm": norm_kind(constructor)}
    return "jetformer", ours


def _infer(state: State) -> Arguments:
    """Sizes are read off; heads, activation and whether norms are applied leave no trace."""
    dim, features = state["embedding.weight"].shape
    blocks = [int(key.split(".")[1]) for key in state if key.startswith("transformers.")]
    found = {
        "in_dim": features,
        "embbed_dim": dim,
        "num_classes": len(state["linear.weight"]),
        "num_transformers": 1 + max(blocks, default=-1),
    }
    dead = state.get("transformers.0.self_attention.pre_exp_norm.weight")
    if dead is not None:
        found["num_particles"] = math.isqrt(len(dead)) - 1
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"the weights tell {read}, but not num_heads, activation and normalization: give the "
        "official constructor arguments"
    )


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    if type(net).__name__ != "JetFormer":
        return None
    given = net.__dict__["arguments"]
    if given["mask_padding"]:
        raise ValueError("the official network has no mask: this one was made with mask_padding")
    norms = {ours: official for official, ours in NORMS.items()}
    activations = {ours: official for official, ours in _ACTIVATIONS.items()}
    found = {official: given[own] for official, own, _ in _SIZES}
    return found | {
        "activation": activations[given["activation"]],
        "normalization": norms.get(given["norm"], "None"),
    }


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    x = inputs["x"]
    outputs = {"log_probs": torch.log_softmax(model(x), -1)}
    mid = {} if model.training else _blocks(model, x, fixture.named("mid"))
    return Replay(outputs, inputs, model, mid=mid)


@torch.no_grad()
def _blocks(model: Any, x: Tensor, asked: State) -> State:
    """What whole blocks give, also the last one, of which the network needs one token only."""
    numbers = [
        int(found[1]) for name in asked if (found := re.fullmatch(r"transformer(\d+)", name))
    ]
    mid: State = {}
    h = model.embed(x)
    for number in range(1 + max(numbers, default=-1)):
        h = model.blocks[number](h)
        mid[f"transformer{number}"] = h
    return {name: value for name, value in mid.items() if name in asked}


SYSTEM = System(
    name="jetformer",
    kinds={"model": _replay},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=DROPPED,
    aside=without_norms,
    infer=_infer,
    surrogate="jets",
    describe=_describe,
    noise=("dropout",),
)
