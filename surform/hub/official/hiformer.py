"""Hiformer, by the equations of its paper (there is no official code), and baselines of FuxiCTR.

A constructor is that of the recorded cases: d, H, dk, dv, df, tasks, vocab, dense_in, dense_hidden,
dense_tokens, layers, attention, rank_k, rank_v, prune_last, norm, eps, pos_embed. The weights tell
all of them but eps, and whether a Transformer of shared weights is pruned, which changes nothing.

The baselines are reczoo/FuxiCTR@0245987fdc1d: one interaction layer after the other.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.accounting import account
from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.hiformer_keys import STATISTICS, to_official, to_ours
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_NEEDED = ("d", "H", "dk", "dv", "df", "vocab", "layers", "attention")
# recorded argument -> ours, and what counts without it
_OTHERS: dict[str, tuple[str, Any]] = {
    "tasks": ("tasks", 1),
    "dense_in": ("dense_features", 0),
    "dense_hidden": ("dense_hidden", 1),
    "dense_tokens": ("dense_tokens", 0),
    "rank_k": ("key_rank", 1),
    "rank_v": ("value_rank", 1),
    "prune_last": ("prune_last", True),
    "norm": ("norm", "post"),
    "eps": ("norm_eps", 1e-6),
    "pos_embed": ("positions", False),
    "dropout": ("dropout", 0.0),
}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Recorded constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is a layer of a baseline: leave it out for Hiformer")
    known = (*_NEEDED, *_OTHERS)
    unknown = [name for name in constructor if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"a recorded Hiformer has no argument {unknown[0]!r}{hint}")
    found = {ours: constructor.get(name, default) for name, (ours, default) in _OTHERS.items()}
    if not found["dense_features"]:
        found |= {"dense_tokens": 0, "dense_hidden": 1}
    if constructor["attention"] != "lowrank":
        found |= {"key_rank": 1, "value_rank": 1}
    return "hiformer", found | {
        "vocab_sizes": tuple(constructor["vocab"]),
        "dim": constructor["d"],
        "depth": constructor["layers"],
        "heads": constructor["H"],
        "key_dim": constructor["dk"],
        "value_dim": constructor["dv"],
        "mlp_ratio": constructor["df"] / constructor["d"],
        "attention": constructor["attention"],
    }


def _infer(state: State) -> Arguments:
    """The recorded arguments that the shapes tell."""
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("layers."))
    first, last = "layers.0.", f"layers.{depth - 1}."
    tasks, dim = state["task_embed"].shape
    kind = _kind(state, first)
    features = sum(key.startswith("cat_embed.") for key in state)
    found: Arguments = {
        "d": dim,
        "H": state[f"{first}k.bias"].shape[-2],
        "dk": state[f"{first}k.bias"].shape[-1],
        "dv": state[f"{first}v.bias"].shape[-1],
        "df": state[f"{first}ffn.b1"].shape[-1],
        "tasks": tasks,
        "vocab": [len(state[f"cat_embed.{i}"]) for i in range(features)],
        "layers": depth,
        "attention": kind,
        "prune_last": kind == "shared" or len(state[f"{last}o.bias"]) == tasks,
        "norm": _norm(state, first),
        "pos_embed": "pos_embed" in state,
    }
    if kind == "lowrank":
        found |= {"rank_k": state[f"{first}k.left"].shape[1]}
        found |= {"rank_v": state[f"{first}v.left"].shape[1]}
    if "dense_mlp.0.weight" in state:
        found["dense_in"], found["dense_hidden"] = state["dense_mlp.0.weight"].shape
        found["dense_tokens"] = len(state["dense_mlp.1.bias"]) // dim
    return found


def _kind(state: State, layer: str) -> str:
    if f"{layer}k.left" in state:
        return "lowrank"
    axes = state[f"{layer}k.weight"].ndim
    return {2: "composite", 3: "shared", 4: "feature"}[axes]


def _norm(state: State, layer: str) -> str:
    if f"{layer}norm1.weight" not in state:
        return "none"
    return "pre" if "final_norm.weight" in state else "post"


def _describe(net: nn.Module) -> Arguments | None:
    """The recorded constructor's arguments for one of our networks."""
    if type(net).__name__ != "Hiformer":
        return None
    given = net.__dict__["arguments"]
    for name in ("multi_vocab_sizes", "tower", "deep"):
        if given[name]:
            raise ValueError(f"recorded Hiformers have no {name}, this network has {given[name]}")
    found = {official: given[ours] for official, (ours, _) in _OTHERS.items()}
    return found | {
        "d": given["dim"],
        "H": given["heads"],
        "dk": given["key_dim"],
        "dv": given["value_dim"],
        "df": round(given["dim"] * given["mlp_ratio"]),
        "vocab": list(given["vocab_sizes"]),
        "layers": given["depth"],
        "attention": given["attention"],
    }


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Numbers are standardised by the recorded statistics before the network."""
    net, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    numbers, params = inputs.get("dense"), fixture.parameters(dtype)
    if numbers is not None and "dense_mean" in params:
        numbers = (numbers - params["dense_mean"]) / params["dense_std"]
    if not fixture.constructor.get("dense_in"):
        numbers = None
    mid = _watch(net, fixture.constructor)
    logits = net(inputs["categorical"], numbers)
    with torch.no_grad():
        _, maps = net.forward_with_attention(inputs["categorical"], numbers)  # type: ignore[operator]
    mid |= {f"layer{i}.attn_probs": weights for i, weights in enumerate(maps)}
    return Replay({"logits": logits}, inputs, net, mid=mid)


def _watch(net: nn.Module, constructor: Arguments) -> State:
    """Record what the cases keep of the inside, samples first."""
    mid: State = {}

    def keep(name: str, x: Tensor) -> None:
        mid.setdefault(name, x.detach().transpose(0, 1))

    def before(name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _, given: keep(name, given[0]))

    def after(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda *given: keep(name, given[2]))

    inner = "norm2" if constructor.get("norm", "post") == "pre" else "feed_forward"
    for i, layer in enumerate(net.get_submodule("layers").children()):
        if i == 0:
            before("tokens", layer)
        before(f"layer{i}.after_attention", layer.get_submodule(f"after.{inner}"))
        after(f"layer{i}.out", layer)
    return mid


# -- baselines ---------------------------------------------------------------------------------

_AUTOINT = {"W_q": "q", "W_k": "k", "W_v": "v", "W_res": "skip", "layer_norm": "norm"}


def _autoint_layer(fixture: Fixture, dtype: torch.dtype) -> Replay:
    make = import_object("surform.recommenders.autoint:InteractingLayer")
    layers = nn.Sequential(
        *(
            make(
                given["input_dim"],
                given.get("attention_dim") or given["input_dim"],
                given.get("num_heads", 1),
                residual=given.get("use_residual", True),
                scale=given.get("use_scale", False),
                layer_norm=given.get("layer_norm", False),
            )
            for given in fixture.constructor["layers"]
        )
    )
    return _part(fixture, dtype, layers, _AUTOINT)


def _dcnv2_cross(fixture: Fixture, dtype: torch.dtype) -> Replay:
    make = import_object("surform.recommenders.dcn_v2:CrossLayers")
    given = fixture.constructor
    return _part(
        fixture, dtype, make(given["input_dim"], given["num_layers"]), {"cross_layers": "layers"}
    )


def _part(fixture: Fixture, dtype: torch.dtype, module: nn.Module, words: dict[str, str]) -> Replay:
    """Replay of y = module(x) whose names differ by whole words."""
    back = {ours: official for official, ours in words.items()}

    def official(state: State) -> State:
        return {_in_words(key, back): value for key, value in state.items()}

    state = fixture.parameters(dtype)
    module = module.to(dtype).train(fixture.mode == "train")
    account(state, official(module.state_dict()), {}).require_complete(fixture.path.name)
    module.load_state_dict({_in_words(key, words): value for key, value in state.items()})
    inputs = fixture.inputs(dtype)
    return Replay({"y": module(inputs["x"])}, inputs, module, to_official=official)


def _in_words(key: str, words: dict[str, str]) -> str:
    return ".".join(words.get(word, word) for word in key.split("."))


def _statistics(file: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    state = file["state_dict"]
    if "dense_mean" not in state:
        return {}
    return {"dense": (state["dense_mean"], state["dense_std"])}


SYSTEM = System(
    name="hiformer",
    kinds={"model": _model, "autoint_layer": _autoint_layer, "dcnv2_cross": _dcnv2_cross},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=dict.fromkeys(STATISTICS, "the model's normaliser holds it"),
    infer=_infer,
    surrogate="ranker",
    statistics=_statistics,
    describe=_describe,
    noise=("dropout",),
)
