"""HPT: liruiw/HPT@549433f.

A constructor is {"policy": ..., "stem": ..., "head": ..., "domain": name}, each the official
arguments. Official files of the trunk alone are read by `read_trunk` and written by `write_trunk`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surform.data.atomic import replacing
from surform.hub.official.accounting import account
from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.hpt_keys import of_other_robots, to_official, to_ours
from surform.registry import import_object

__all__ = ["SYSTEM", "read_trunk", "write_trunk"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_POOLINGS = {
    "mean": "mean", "max": "max", "last": "last", "action_token": "action_token",
    "no-op": "none", False: "none", None: "none",
}  # fmt: skip
_MLP_STEM = "hpt.models.policy_stem.MLP"
_HEADS = {
    "mlp": "hpt.models.policy_head.MLP",
    "decoder": "hpt.models.policy_head.TransformerDecoder",
    "diffusion": "hpt.models.diffusion_policy_head.DiffusionPolicy",
}
# what the official options may be without changing what is computed here
_STEM_FIXED = {"cross_attention": True}
_LAYER_FIXED = {"tanh_end": False, "ln": True, "finetune_encoder": False}
_SCHEDULER_FIXED = {
    "beta_schedule": "squaredcos_cap_v2", "clip_sample": True, "clip_sample_range": 1.0,
    "set_alpha_to_one": True, "steps_offset": 0, "prediction_type": "epsilon",
    "timestep_spacing": "leading", "thresholding": False, "rescale_betas_zero_snr": False,
    "trained_betas": None,
}  # fmt: skip


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    policy, stem, head = constructor["policy"], constructor["stem"], constructor["head"]
    constructor["domain"]  # its name is part of the keys
    pooling = policy.get("token_postprocessing", False)
    if pooling not in _POOLINGS:
        raise ValueError(f"token_postprocessing is {pooling!r}: the official code has no such part")
    names = list(stem["modalities"])
    _fixed("stem", stem, _STEM_FIXED)
    for name in names:
        _fixed(f"stem.{name}", stem[name], _LAYER_FIXED)
        _of_class(f"stem.{name}", stem[name], ["MLP"])
    horizon = int(policy.get("action_horizon", 1))
    if _POOLINGS[pooling] != "action_token":
        horizon = int(head.get("action_horizon", horizon))
    widths = {name: list(stem[name]["widths"]) for name in names}
    alike = all(each == widths[names[0]] for each in widths.values())
    ours: Arguments = {
        "features": {name: stem[name]["input_dim"] for name in names},
        "tokens": {name: stem["crossattn_latent"][name] for name in names},
        "dim": policy.get("embed_dim", 1024),
        "depth": policy.get("num_blocks", 24),
        "heads": policy.get("num_heads", 16),
        "drop_path": policy.get("drop_path", 0.0),
        "history": policy.get("observation_horizon", 4),
        "random_history": stem.get("random_horizon_masking", False),
        "normalize_state": stem.get("normalize_state", True),
        "pooling": _POOLINGS[pooling],
        "stem_hidden": widths[names[0]] if alike else widths,
        "stem_heads": stem["crossattn_heads"],
        "stem_head_dim": stem["crossattn_dim_head"],
        "stem_dropout": stem.get("crossattn_modality_dropout", 0.1),
        "chunk": horizon,
    }
    return "hpt", ours | _head(head, horizon, ours["pooling"])


def _fixed(where: str, given: Arguments, fixed: Arguments) -> None:
    """ValueError for an official option that would compute something else."""
    for name, only in fixed.items():
        if given.get(name, only) != only:
            raise ValueError(f"{where}.{name} is {given[name]!r}, but only {only!r} is supported")


def _of_class(where: str, given: Arguments, known: list[str]) -> str:
    kind = str(given.get("_target_", known[0])).rpartition(".")[2]
    if kind not in known:
        raise ValueError(
            f"{where}._target_ is {kind!r}, which is not supported: choose {', '.join(known)}"
        )
    return kind


def _head(head: Arguments, horizon: int, pooling: str) -> Arguments:
    known = [name.rpartition(".")[2] for name in _HEADS.values()]
    kind, out = _of_class("head", head, known), int(head["output_dim"])
    if kind == "MLP":
        each = 1 if pooling == "action_token" else horizon
        if out % each:
            raise ValueError(f"head.output_dim is {out}, which {each} actions do not share evenly")
        return {
            "head": "mlp",
            "action_dim": out // each,
            "head_hidden": list(head["widths"]),
            "head_tanh": head.get("tanh_end", False),
            "head_dropout": 0.1 if head.get("dropout") else 0.0,
            "head_norm": head.get("ln", True),
        }
    if kind == "TransformerDecoder":
        if head["input_dim"] != out:
            raise ValueError("a TransformerDecoder's input_dim and output_dim must be the same")
        return {
            "head": "decoder",
            "action_dim": out,
            "decoder_heads": head.get("crossattn_heads", 8),
            "decoder_head_dim": head.get("crossattn_dim_head", 64),
            "decoder_dropout": head.get("crossattn_modality_dropout", 0.1),
        }
    net, noise = head["model"], head["noise_scheduler"]
    if not net.get("cond_predict_scale"):
        raise ValueError("head.model.cond_predict_scale = False is not supported")
    _fixed("head.noise_scheduler", noise, _SCHEDULER_FIXED)
    return {
        "head": "diffusion",
        "action_dim": out,
        "unet_channels": list(net["down_dims"]),
        "unet_kernel": net["kernel_size"],
        "unet_groups": net["n_groups"],
        "unet_time_dim": net["diffusion_step_embed_dim"],
        "diffusion_steps": noise["num_train_timesteps"],
        "sampling_steps": head.get("num_inference_steps"),
    }


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks, of the domain "robot"."""
    if type(net).__name__ != "HPT":
        return None
    given: Arguments = dict(net.__dict__["arguments"])
    names = list(given["features"])
    counts, hidden = given["tokens"], given["stem_hidden"]
    back = {ours: official for official, ours in _POOLINGS.items() if isinstance(official, str)}
    stem: Arguments = {
        "modalities": names,
        "modality_embed_dim": given["dim"],
        "normalize_state": given["normalize_state"],
        "cross_attention": True,
        "random_horizon_masking": given["random_history"],
        "observation_horizon": given["history"],
        "crossattn_heads": given["stem_heads"],
        "crossattn_dim_head": given["stem_head_dim"],
        "crossattn_modality_dropout": given["stem_dropout"],
        "crossattn_latent": {n: counts if isinstance(counts, int) else counts[n] for n in names},
    }
    for name, width in given["features"].items():
        stem[name] = {
            "_target_": _MLP_STEM,
            "input_dim": width,
            "output_dim": given["dim"],
            "widths": list(hidden[name] if isinstance(hidden, dict) else hidden),
        }
    policy = {
        "embed_dim": given["dim"],
        "num_blocks": given["depth"],
        "num_heads": given["heads"],
        "drop_path": given["drop_path"],
        "observation_horizon": given["history"],
        "action_horizon": given["chunk"],
        "token_postprocessing": back[given["pooling"]],
    }
    return {"policy": policy, "stem": stem, "head": _described_head(given), "domain": "robot"}


def _described_head(given: Arguments) -> Arguments:
    kind, horizon, actions = given["head"], given["chunk"], given["action_dim"]
    head: Arguments = {"_target_": _HEADS[kind], "action_horizon": horizon, "output_dim": actions}
    if kind == "mlp":
        if given["head_dropout"] not in (0.0, 0.1):
            raise ValueError(f"head_dropout is {given['head_dropout']}, officially 0.1 or none")
        return head | {
            "input_dim": given["dim"],
            "output_dim": actions * (1 if given["pooling"] == "action_token" else horizon),
            "widths": list(given["head_hidden"]),
            "tanh_end": given["head_tanh"],
            "dropout": bool(given["head_dropout"]),
            "ln": given["head_norm"],
        }
    if kind == "decoder":
        if actions != given["dim"]:
            raise ValueError(
                f"the official decoder head runs where action_dim = dim only, not {actions} and "
                f"{given['dim']}"
            )
        names = {"heads": "heads", "head_dim": "dim_head", "dropout": "modality_dropout"}
        pairs = {
            f"crossattn_{official}": given[f"stem_{ours}"]
            if given[f"decoder_{ours}"] is None
            else given[f"decoder_{ours}"]
            for ours, official in names.items()
        }
        return head | {"input_dim": actions} | pairs
    return head | {
        "num_inference_steps": given["sampling_steps"],
        "model": {
            "_target_": "hpt.utils.conditional_unet1d.ConditionalUnet1D",
            "input_dim": actions,
            "global_cond_dim": given["dim"],
            "diffusion_step_embed_dim": given["unet_time_dim"],
            "down_dims": list(given["unet_channels"]),
            "kernel_size": given["unet_kernel"],
            "n_groups": given["unet_groups"],
            "cond_predict_scale": True,
        },
        "noise_scheduler": {
            "_target_": "hpt.utils.scheduling_ddim.DDIMScheduler",
            "num_train_timesteps": given["diffusion_steps"],
            "beta_schedule": "squaredcos_cap_v2",
            "clip_sample": True,
            "set_alpha_to_one": True,
            "steps_offset": 0,
            "prediction_type": "epsilon",
        },
    }


def _infer(state: State) -> Arguments:
    """Nothing: what the shapes leave open is named in the error."""
    trunk = _trunk_keys(state)
    depth, dim = _trunk_sizes(trunk)
    if len(trunk) == len(state):
        raise ValueError(
            f"the file holds a trunk alone ({depth} blocks of width {dim}): read it by "
            "surform.hub.official.hpt.read_trunk"
        )
    raise ValueError(
        f"the weights tell num_blocks={depth}, embed_dim={dim}, but not the heads: give the "
        "official constructor arguments, policy, stem, head and domain"
    )


def read_trunk(path: str | Path) -> State:
    """The weights of our `Trunk` out of an official `trunk.pth`, or of a whole policy.

    Raises:
        FileNotFoundError, ValueError: no such file; it cannot be read, holds no trunk, or one that
            lacks a weight.
    """
    trunk = _trunk_keys(read_checkpoint(path))
    if not trunk:
        raise ValueError(f"{path} holds no trunk: no key begins with trunk.blocks.")
    depth, dim = _trunk_sizes(trunk)
    with torch.device("meta"):  # heads have no weights of their own
        net = import_object("surform.robotics.hpt_trunk:Trunk")(dim, depth, 1, 0.0)
    needed = to_official({f"trunk.{key}": value for key, value in net.state_dict().items()}, {})
    account(trunk, needed, {}).require_complete(str(path))
    return {key.removeprefix("trunk."): value for key, value in to_ours(trunk, {}).items()}


def write_trunk(path: str | Path, trunk: nn.Module) -> None:
    """Write our `Trunk` as an official `trunk.pth`.

    Raises:
        ValueError: another network.
    """
    if type(trunk).__name__ != "Trunk":
        raise ValueError(f"a {type(trunk).__name__} is no trunk: give a policy's `trunk`")
    ours = {f"trunk.{key}": value for key, value in trunk.state_dict().items()}
    tensors = {
        key.removeprefix("trunk."): value.detach().cpu().contiguous().clone()
        for key, value in to_official(ours, {}).items()
    }
    with replacing(Path(path)) as partial:
        torch.save(tensors, partial)


def _trunk_keys(state: State) -> State:
    """The blocks of the trunk, by their names in a whole policy."""
    whole = {k if k.startswith("trunk.trunk.") else f"trunk.{k}": v for k, v in state.items()}
    return {k: v for k, v in whole.items() if k.startswith("trunk.trunk.blocks.")}


def _trunk_sizes(trunk: State) -> tuple[int, int]:
    """Blocks and width; ValueError without a first block."""
    first = trunk.get("trunk.trunk.blocks.0.norm_1.weight")
    if first is None:
        raise ValueError("the file lacks trunk.blocks.0.norm_1.weight, which every trunk has")
    numbers = [int(n) for key in trunk if (n := key.split(".")[3]).isdecimal()]
    return 1 + max(numbers), len(first)


def _policy(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Actions, features and loss of one policy; the loss is what diffusion's gradients are of."""
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    observation = {name: inputs[name] for name in model.stems}
    mid = _watch(model, fixture)
    expected = fixture.named("out")["action"].shape
    features = model.encode(observation)
    drawn = {}
    if "timesteps" in inputs:
        drawn = {"noise": inputs["noise"], "time": inputs["timesteps"]}
        mid["ddim_timesteps"] = torch.tensor(model.head.diffusion.times(model.head.steps))
        actions = model(observation, inputs["initial_noise"])
    else:
        actions = model(observation)
    outputs = {"action": actions.reshape(expected), "features": features}
    loss: Tensor | None = None
    if "action" in inputs:
        target = inputs["action"].reshape(len(features), model.chunk, model.action_dim)
        outputs["loss"] = loss = model.loss(observation, target, **drawn)
    cotangent = fixture.cotangent("action", dtype)
    if cotangent is not None:
        loss = (outputs["action"] * cotangent).sum()
    return Replay(outputs, inputs, model, loss=loss, mid=mid)


def _statistics(_: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """The network speaks in the robot's units by limits of its own."""
    return {"action": (torch.zeros(()), torch.ones(()))}


def _watch(model: Any, fixture: Fixture) -> State:
    mid: State = {}

    def keep(name: str, module: Any, swap: bool = False) -> None:
        def hook(_: Any, __: Any, out: Tensor) -> None:
            mid[name] = out.detach().transpose(0, 1) if swap else out.detach()

        module.register_forward_hook(hook)

    for name, stem in model.stems.items():
        keep(f"stem_{name}", stem)
    keep("trunk_out", model.trunk)
    for name in fixture.named("mid"):
        block = re.match(r"trunk_block(\d+)_out", name)
        if block:
            keep(name, model.trunk.blocks[int(block[1])], swap=True)
    return mid


SYSTEM = System(
    name="hpt",
    kinds={"policy": _policy},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped={
        "modalities_tokens.*": "the official code never uses them",
        "normalizer.*.params_dict.state.*": "the network does not normalise the state",
    },
    aside=of_other_robots,
    infer=_infer,
    surrogate="policy",
    modes=("eval",),
    statistics=_statistics,
    describe=_describe,
)
