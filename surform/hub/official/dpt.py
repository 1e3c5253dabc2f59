"""Transformers that decide in context: licong-lin/in-context-rl@11fa8b0 and
jon--lee/decision-pretrained-transformer@15172df.

Both have a class `Transformer(config)`; a constructor is its config. That of in-context-rl has
`dim` and `act_type`, by which the two are told apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.dpt_keys import DROPPED, to_official, to_ours
from surform.hub.official.fixture import Fixture, Replay, System

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_BACKBONES = {"relu": "relu", "softmax": "gpt2"}
_POSITIONS = 4  # times 1 + horizon


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no decision transformer: choose model")
    if "image_size" in constructor:
        raise ValueError(
            "the official network of images is not converted: no weights are published"
        )
    ours: Arguments = {
        "actions": constructor["action_dim"],
        "horizon": constructor["horizon"],
        "dim": constructor.get("n_embd", 32),
        "depth": constructor.get("n_layer", 3),
        "dropout": constructor.get("dropout", 0.0),
    }
    if not _has_features(constructor):
        # one head, whatever n_head says
        return "dpt", ours | {"state_dim": constructor["state_dim"], "backbone": "gpt2"}
    if constructor.get("act_num", ours["actions"]) != ours["actions"]:
        raise ValueError("act_num and action_dim must be the same: both count the arms")
    act_type = constructor["act_type"]
    if act_type not in _BACKBONES:
        raise ValueError(f"act_type is {act_type!r}, but must be relu or softmax")
    backbone = _BACKBONES[act_type]
    rectified = backbone == "relu"
    return "in_context_bandit", ours | {
        "features": constructor["dim"],
        "backbone": backbone,
        "heads": 1 if rectified else constructor.get("n_head", 1),
        "dropout": 0.0 if rectified else ours["dropout"],  # the official one has none there
    }


def _has_features(constructor: Arguments) -> bool:
    return "dim" in constructor or "act_type" in constructor


def _infer(state: State) -> Arguments:
    """All of the ReLU networks; GPT-2's heads leave no trace."""
    dim, tokens = state["embed_transition.weight"].shape
    actions = len(state["pred_actions.weight"])
    found: Arguments = {
        "n_embd": dim,
        "action_dim": actions,
        "horizon": len(state["transformer.wpe.weight"]) // _POSITIONS - 1,
    }
    layers = [
        key.split(".")[2] for key in state if key.startswith(("transformer._q", "transformer.h"))
    ]
    found["n_layer"] = 1 + max(map(int, layers), default=-1)
    features, rest = divmod(tokens - actions - 3, actions)
    if "transformer._queries.0.weight" in state and not rest:
        return found | {"act_num": actions, "dim": features, "act_type": "relu", "n_head": 1}
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"the weights tell {read}, but not which of the two official networks this is, nor its "
        "n_head: give the official constructor arguments"
    )


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    name = type(net).__name__
    if name not in ("DPT", "InContextBandit"):
        return None
    given = net.__dict__["arguments"]
    found = {
        "horizon": given["horizon"],
        "n_embd": given["dim"],
        "n_layer": given["depth"],
        "n_head": given["heads"],
        "action_dim": given["actions"],
        "dropout": given["dropout"],
        "test": False,
    }
    if name == "InContextBandit":
        softmax = given["backbone"] == "gpt2"
        return found | {
            "state_dim": 1,
            "act_num": given["actions"],
            "dim": given["features"],
            "act_type": "softmax" if softmax else "relu",
        }
    if given["backbone"] != "gpt2" or given["heads"] != 1:
        raise ValueError(
            "the official DPT has the gpt2 backbone with one head, not "
            f"{given['backbone']} with {given['heads']}"
        )
    return found | {"state_dim": given["state_dim"]}


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """In training mode the official networks give a row per round, in test mode the last one."""
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    actions = inputs["context_actions"]
    rewards = inputs["context_rewards"].squeeze(-1)
    if _has_features(fixture.constructor):
        logits = model(inputs["action_set"], actions, rewards)
        rows = logits[:, :-1]
    else:
        states, after = inputs["context_states"], inputs["context_next_states"]
        logits = model(inputs["query_states"], states, actions, after, rewards)
        rows = logits[:, 1:]
    if fixture.constructor.get("test"):
        rows = logits[:, -1]
    return Replay({"logits": rows}, inputs, model)


SYSTEM = System(
    name="dpt",
    kinds={"model": _replay},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=DROPPED,
    infer=_infer,
    surrogate="decisions",
    describe=_describe,
    noise=("dropout",),
)
