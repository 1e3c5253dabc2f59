"""HPT: liruiw/HPT@549433f.

A constructor is {"policy": ..., "stem": ..., "head": ..., "domain": name}, each the official
arguments. Official files of the trunk alone are read by `read_trunk`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.official.fixture import Fixture, Replay, System

__all__ = ["SYSTEM", "read_trunk"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_POOLINGS = {
    "mean": "mean", "max": "max", "last": "last", "action_token": "action_token",
    "no-op": "none", False: "none", None: "none",
}  # fmt: skip
_BLOCK = (
    (r"attn\.in_proj_", "attention.qkv."),
    (r"attn\.out_proj\.", "attention.out."),
    (r"norm_([12])\.", r"norm\1."),
    (r"mlp\.fc1\.", "feed_forward.up."),
    (r"mlp\.fc2\.", "feed_forward.down."),
)
_QUERIES = (
    (r"cross_attention\.to_q\.", "queries.query."),
    (r"cross_attention\.to_kv\.", "queries.key_value."),
    (r"cross_attention\.to_out\.", "queries.out."),
    (r"tokens$", "queries.tokens"),
)
_DECODER = (*_QUERIES, (r"mlp\.", "context."))
_UNET = (
    (r"model\.diffusion_step_encoder\.1\.", "net.time.0."),
    (r"model\.diffusion_step_encoder\.3\.", "net.time.2."),
    (r"model\.down_modules\.(\d+)\.2\.conv\.", r"net.downsample.\1."),
    (r"model\.up_modules\.(\d+)\.2\.conv\.", r"net.upsample.\1."),
    (r"model\.down_modules\.", "net.down."),
    (r"model\.up_modules\.", "net.up."),
    (r"model\.mid_modules\.", "net.middle."),
    (r"model\.final_conv\.0\.block\.", "net.last."),
    (r"model\.final_conv\.1\.", "net.out."),
)
_INSIDE = (
    (r"\.blocks\.0\.block\.", ".first."),
    (r"\.blocks\.1\.block\.", ".second."),
    (r"\.cond_encoder\.1\.", ".film."),
    (r"\.residual_conv\.", ".skip."),
)
_LIMITS = {
    "scale": "scale", "offset": "offset", "input_stats.min": "minimum",
    "input_stats.max": "maximum", "input_stats.mean": "mean", "input_stats.std": "deviation",
}  # fmt: skip
_EXTRA = re.compile(r"(.*blocks\.\d+\.)attn\.bias_([kv])$")


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    policy, stem, head = constructor["policy"], constructor["stem"], constructor["head"]
    names = list(stem["modalities"])
    widths = [list(stem[name]["widths"]) for name in names]
    if any(each != widths[0] for each in widths):
        raise ValueError(f"stems have the widths {widths}, but all must have the same")
    pooling = policy.get("token_postprocessing", False)
    if pooling not in _POOLINGS:
        raise ValueError(f"token_postprocessing is {pooling!r}: the official code has no such part")
    horizon = int(head.get("action_horizon", policy.get("action_horizon", 1)))
    latent = stem["crossattn_latent"]
    ours: Arguments = {
        "features": {name: stem[name]["input_dim"] for name in names},
        "tokens": {name: latent[name] for name in names},
        "dim": policy.get("embed_dim", 1024),
        "depth": policy.get("num_blocks", 24),
        "heads": policy.get("num_heads", 16),
        "drop_path": policy.get("drop_path", 0.0),
        "observation_horizon": policy.get("observation_horizon", 4),
        "random_horizon": stem.get("random_horizon_masking", False),
        "pooling": _POOLINGS[pooling],
        "stem_hidden": widths[0],
        "stem_heads": stem["crossattn_heads"],
        "stem_head_dim": stem["crossattn_dim_head"],
        "stem_dropout": stem.get("crossattn_modality_dropout", 0.1),
        "action_horizon": horizon,
    }
    return "hpt", ours | _head(head, horizon, ours["pooling"])


def _head(head: Arguments, horizon: int, pooling: str) -> Arguments:
    kind = str(head["_target_"]).rpartition(".")[2]
    out = int(head["output_dim"])
    if kind == "MLP":
        return {
            "head": "mlp",
            "action_dim": out if pooling == "action_token" else out // horizon,
            "head_hidden": list(head["widths"]),
            "head_tanh": head.get("tanh_end", False),
            "head_dropout": 0.1 if head.get("dropout") else 0.0,
            "head_norm": head.get("ln", True),
        }
    if kind == "TransformerDecoder":
        if head["input_dim"] != out:
            raise ValueError("a TransformerDecoder's input_dim and output_dim must be the same")
        return {"head": "decoder", "action_dim": out}
    if kind != "DiffusionPolicy":
        raise ValueError(f"the head {kind!r} is not supported: it does not run as released")
    net, noise = head["model"], head["noise_scheduler"]
    if not net.get("cond_predict_scale"):
        raise ValueError("cond_predict_scale = False is not supported")
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


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    found: State = {}
    for key, value in state.items():
        if key.startswith("modalities_tokens."):
            continue
        extra = _EXTRA.match(key)
        if extra is None:
            ours = _key(key, constructor["domain"])
            shared = ours.endswith("queries.tokens") or ours == "action_tokens"
            found[ours] = value[0] if shared else value
        elif extra[2] == "k":
            pair = torch.cat((value[0], state[f"{extra[1]}attn.bias_v"][0]))
            found[f"{extra[1].removeprefix('trunk.')}attention.extra"] = pair
    return found


def _key(key: str, domain: str) -> str:
    """One official key -> ours."""
    part, _, rest = key.partition(".")
    if part == "trunk":
        return _renamed(key.removeprefix("trunk."), _BLOCK)
    if part == "stems":
        name, _, inner = rest.removeprefix(f"{domain}_").partition(".")
        return f"stems.{name}.{_renamed(inner, _QUERIES)}"
    if part == "heads":
        inner = rest.removeprefix(f"{domain}.")
        table = _UNET if inner.startswith("model.") else _DECODER
        return f"head.{_renamed(_renamed(inner, table), _INSIDE)}"
    if part == "normalizer":
        name, _, inner = rest.removeprefix(f"{domain}.params_dict.").partition(".")
        return f"limits.{name}.{_LIMITS.get(inner, inner)}"
    return "action_tokens" if key == f"action_tokens.{domain}" else key


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    domain, found = constructor["domain"], {}
    for key, value in state.items():
        if key.endswith("attention.extra"):
            block = f"trunk.{key.removesuffix('attention.extra')}attn.bias_"
            found[f"{block}k"], found[f"{block}v"] = value[:1, None], value[1:, None]
            continue
        shared = key.endswith("queries.tokens") or key == "action_tokens"
        found[_official(key, domain)] = value[None] if shared else value
    return found


def _official(key: str, domain: str) -> str:
    part, _, rest = key.partition(".")
    if part == "trunk":
        return f"trunk.{_renamed_back(key, _BLOCK)}"
    if part == "stems":
        name, _, inner = rest.partition(".")
        return f"stems.{domain}_{name}.{_renamed_back(inner, _QUERIES)}"
    if part == "head":
        inside = _renamed_back(rest, _INSIDE)
        # the MLP's maps are called `net` in the official code, too
        table = _DECODER if re.match(r"net\.\d", rest) or not rest.startswith("net.") else _UNET
        return f"heads.{domain}.{_renamed_back(inside, table)}"
    if part == "limits":
        name, _, inner = rest.partition(".")
        back = {ours: official for official, ours in _LIMITS.items()}
        return f"normalizer.{domain}.params_dict.{name}.{back[inner]}"
    return f"{key}.{domain}"


def _renamed(key: str, table: tuple[tuple[str, str], ...]) -> str:
    """By the first rule that matches."""
    for pattern, target in table:
        changed, count = re.subn(pattern, target, key, count=1)
        if count:
            return changed
    return key


def _renamed_back(key: str, table: tuple[tuple[str, str], ...]) -> str:
    """The same rules the other way; each has at most one group."""
    for official, ours in table:
        group = re.search(r"\(.*?\)", official)
        source = re.escape(ours).replace(r"\\1", group[0] if group else "")
        target = re.sub(r"\(.*?\)", r"\\1", official).replace(r"\.", ".").removesuffix("$")
        end = "$" if official.endswith("$") else ""
        changed, count = re.subn(f"{source}{end}", target, key, count=1)
        if count:
            return changed
    return key


def read_trunk(path: str | Path) -> State:
    """The weights of our `Trunk` out of an official `trunk.pth`, or of a whole policy.

    Raises:
        FileNotFoundError, ValueError: no such file; it cannot be read, or holds no trunk.
    """
    state = read_checkpoint(path)
    whole = {k if k.startswith("trunk.trunk.") else f"trunk.{k}": v for k, v in state.items()}
    trunk = {k: v for k, v in whole.items() if k.startswith("trunk.trunk.blocks.")}
    if not trunk:
        raise ValueError(f"{path} holds no trunk: no key begins with trunk.blocks.")
    ours = _to_ours(trunk, {"domain": ""})
    return {key.removeprefix("trunk."): value for key, value in ours.items()}


def _policy(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Actions, features and loss of one policy; the loss is what diffusion's gradients are of."""
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    observation = {name: inputs[name] for name in model.stems}
    mid = _watch(model, fixture)
    expected = fixture.named("out")["action"].shape
    features = model.encode(observation)
    target = inputs["action"].reshape(len(features), model.action_horizon, model.action_dim)
    drawn = {}
    if "timesteps" in inputs:
        drawn = {"noise": inputs["noise"], "time": inputs["timesteps"]}
        mid["ddim_timesteps"] = torch.tensor(model.head.diffusion.times(model.head.steps))
        actions = model(observation, inputs["initial_noise"])
    else:
        actions = model(observation)
    loss = model.loss(observation, target, **drawn)
    outputs = {"action": actions.reshape(expected), "features": features, "loss": loss}
    has_cotangent = fixture.cotangent("action", dtype) is not None
    if has_cotangent:
        loss_of = (outputs["action"] * fixture.cotangent("action", dtype)).sum()
        return Replay(outputs, inputs, model, loss=loss_of, mid=mid)
    return Replay(outputs, inputs, model, loss=loss, mid=mid)


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
    to_ours=_to_ours,
    to_official=_to_official,
    dropped={"modalities_tokens.*": "the official code never uses them"},
    surrogate="policy",
    modes=("eval",),
)
