"""RT-1: google-research/robotics_transformer@4569641, and its TensorFlow checkpoints.

A constructor is that of the official `TransformerNetwork`, with `action_order` and `action_spec`
({name: {"size", "discrete", "min", "max"}}), which its macros set; without them the action is that
of the published models. A bare state dict tells all the sizes.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import System
from surform.hub.official.rt1_keys import ENCODER, to_official, to_ours
from surform.hub.official.rt1_parts import KINDS, fields_of

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

# official argument -> ours, and the official default
_TABLE: dict[str, tuple[str, Any]] = {
    "feed_forward_size": ("dim", 512),
    "num_layers": ("depth", 1),
    "num_heads": ("heads", 8),
    "layer_size": ("head_dim", 4096),
    "vocab_size": ("vocab_size", 256),
    "token_embedding_size": ("token_dim", 512),
    "time_sequence_length": ("frames", 1),
    "dropout_rate": ("dropout", 0.1),
    "num_tokens": ("image_tokens", 8),
    "bottleneck_dim": ("bottleneck", 64),
    "context_dim": ("instruction_dim", 512),
}
_OTHERS = ("cls", "crop_size", "use_token_learner", "action_order", "action_spec")
_ACTOR = "agent/_actor_network/"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind is not None:
        raise ValueError(f"kind {kind!r} is a part of RT-1: leave it out for the whole")
    if constructor.get("cls", "TransformerNetwork") != "TransformerNetwork":
        raise ValueError(
            f"cls is {constructor['cls']!r}, but only the whole TransformerNetwork is converted"
        )
    unknown = [name for name in constructor if name not in (*_TABLE, *_OTHERS)]
    if unknown:
        near = difflib.get_close_matches(unknown[0], (*_TABLE, *_OTHERS), n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"the official TransformerNetwork has no argument {unknown[0]!r}{hint}")
    found = {ours: constructor.get(name, default) for name, (ours, default) in _TABLE.items()}
    if not constructor.get("use_token_learner", True):
        found["image_tokens"] = 0
    return "rt1", found | {"fields": fields_of(constructor), "encoder": ENCODER}


def _infer(state: State) -> Arguments:
    """The official arguments that the shapes tell, and the published action."""
    width, heads, head_dim = state["_transformer/_layers/0/mha1/_query_dense/kernel"].shape
    learner = state.get("_image_tokenizer/_token_learner/mlp/_output_layer/kernel")
    found: Arguments = {
        "feed_forward_size": width,
        "num_layers": 1 + max(_numbers(state, "_transformer/_layers/")),
        "num_heads": heads,
        "layer_size": head_dim,
        "vocab_size": state["_transformer/_output_tokens/kernel"].shape[1],
        "token_embedding_size": state["_transformer/_token_emb/kernel"].shape[0],
        "use_token_learner": learner is not None,
    }
    images = 81 if learner is None else learner.shape[1]
    if learner is not None:
        found |= {"num_tokens": images, "bottleneck_dim": learner.shape[0]}
    film = "_image_tokenizer/_tokenizer/film_layer/_projection_add/kernel"
    found["context_dim"] = state[film].shape[0]
    positions, step = state["_transformer/_position_emb/kernel"].shape[0], images + 11
    if positions % step:
        raise ValueError(
            f"{positions} positions are no whole number of steps of {images} tokens of an image "
            "and 11 of an action: give the official constructor arguments with action_spec"
        )
    return found | {"time_sequence_length": positions // step}


def _numbers(state: State, prefix: str) -> list[int]:
    return [int(k.removeprefix(prefix).split("/")[0]) for k in state if k.startswith(prefix)]


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    if type(net).__name__ != "RT1":
        return None
    given = net.__dict__["arguments"]
    if given["encoder"] != ENCODER or given["image_size"] != 300:
        raise ValueError(
            f"the official code has {ENCODER} for images of 300 pixels only, not "
            f"{given['encoder']} for {given['image_size']}"
        )
    found = {official: given[ours] for official, (ours, _) in _TABLE.items()}
    actions: Any = net.actions
    spec = {
        field.name: {
            "size": field.size,
            "discrete": field.discrete,
            "min": 0.0 if field.discrete else field.low,
            "max": 1.0 if field.discrete else field.high,
        }
        for field in actions.fields
    }
    return found | {
        "use_token_learner": bool(found["num_tokens"]),
        "action_order": [field.name for field in actions.fields],
        "action_spec": spec,
    }


def _translate(state: State) -> State:
    """The actor's variables out of a training checkpoint, by the names that the official code
    gives them; optimiser slots and counters are left behind."""
    if not any(key.startswith(_ACTOR) for key in state):
        return state
    return {
        key.removeprefix(_ACTOR).removesuffix(_VALUE): value
        for key, value in state.items()
        if key.startswith(_ACTOR) and ".OPTIMIZER_SLOT" not in key
    }


def _statistics(_: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """The bins of actions are in the robot's units already."""
    return {"action": (torch.zeros(()), torch.ones(()))}


SYSTEM = System(
    name="rt1",
    kinds=KINDS,
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped={
        "_action_token_emb/*": "the official network multiplies what it gives by zero",
        "*/layer_with_weights-0/count": "how many images the means were taken of",
    },
    infer=_infer,
    surrogate="policy",
    modes=("eval",),
    translate=_translate,
    statistics=_statistics,
    describe=_describe,
)
