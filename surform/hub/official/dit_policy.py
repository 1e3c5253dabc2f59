"""Diffusion transformer policy: SudeepDasari/dit-policy@ba22ee3.

A constructor holds the arguments of `DiffusionTransformerAgent`, `noise_net_kwargs` among them, or,
with `"cls": "_DiTNoiseNet"`, those of the noise network alone. `features` describes the official
ResNet: {"size": 18, "norm_cfg": {"name": "group_norm", "num_groups": 16}, "avg_pool": false}.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.dit_policy_features import features
from surform.hub.official.dit_policy_keys import DROPPED, infer, to_official, to_ours
from surform.hub.official.fixture import Fixture, Replay, System
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]

# official argument of the noise network -> ours, and the official default
_NOISE_NET = {
    "time_dim": ("time_dim", 256),
    "hidden_dim": ("dim", 512),
    "num_blocks": ("depth", 6),
    "dropout": ("dropout", 0.1),
    "dim_feedforward": ("hidden", 2048),
    "nhead": ("heads", 8),
    "activation": ("activation", "gelu"),
}
_AGENT = {
    "cls", "features", "feature_dim", "n_cams", "imgs_per_cam", "early_fusion", "odim", "use_obs",
    "ac_dim", "ac_chunk", "token_dim", "feat_norm", "dropout", "train_diffusion_steps",
    "eval_diffusion_steps", "noise_net_kwargs", "share_cam_features", "shared_mlp", "imgs_as_dict",
}  # fmt: skip
_NORMS = {None: "none", "layer_norm": "layer", "batch_norm": "batch"}
_STATES = {False: None, None: None, "add_token": "token", "pad_img_tokens": "pad"}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind == "noise_net" or constructor.get("cls") == "_DiTNoiseNet":
        given = {k: v for k, v in constructor.items() if k not in ("cls", "ac_dim", "ac_chunk")}
        return "dit_noise_net", _sizes(constructor) | _noise_net(given)
    if constructor.get("cls", "DiffusionTransformerAgent") != "DiffusionTransformerAgent":
        raise ValueError(
            f"cls is {constructor['cls']!r}, but only DiffusionTransformerAgent and _DiTNoiseNet "
            "are supported"
        )
    unknown = sorted(set(constructor) - _AGENT)
    if unknown:
        raise ValueError(f"the official DiffusionTransformerAgent takes no {unknown[0]}")
    return "dit_policy", _sizes(constructor) | _agent(constructor)


def _sizes(constructor: Arguments) -> Arguments:
    return {"action_dim": constructor["ac_dim"], "chunk": constructor["ac_chunk"]}


def _noise_net(given: Arguments) -> Arguments:
    unknown = sorted(set(given) - set(_NOISE_NET))
    if unknown:
        raise ValueError(f"the official _DiTNoiseNet takes no {unknown[0]}")
    if given.get("activation") == "glu":
        raise ValueError("activation 'glu' has weights of a width that the official code refuses")
    return {ours: given.get(name, default) for name, (ours, default) in _NOISE_NET.items()}


def _agent(given: Arguments) -> Arguments:
    ours = _noise_net(given.get("noise_net_kwargs", {}))
    if given.get("share_cam_features"):
        raise ValueError("share_cam_features = True crashes in the official code: no weights exist")
    norm, state = given.get("feat_norm"), given.get("use_obs", "add_token")
    if norm not in _NORMS:
        raise ValueError(f"feat_norm is {norm!r}, but must be layer_norm, batch_norm or None")
    if state not in _STATES:
        raise ValueError(f"use_obs is {state!r}, but must be add_token, pad_img_tokens or False")
    if _STATES[state] is not None:
        ours |= {"state_dim": given["odim"], "state_as": _STATES[state]}
    return ours | _features(given) | {
        "cameras": tuple(f"cam{i}" for i in range(given.get("n_cams", 1))),
        "frames": given.get("imgs_per_cam", 1),
        "early_fusion": given.get("early_fusion", False),
        "token_norm": _NORMS[norm],
        "token_dropout": given.get("dropout", 0.0),
        "diffusion_steps": given.get("train_diffusion_steps", 100),
        "sampling_steps": given.get("eval_diffusion_steps", 8),
    }  # fmt: skip


def _features(given: Arguments) -> Arguments:
    """The ResNet, or patches where the width of a plain convolution is given."""
    if "feature_dim" in given:
        return {"features": "patches", "feature_dim": given["feature_dim"], "patch_size": 4}
    described = given.get("features", {})
    norm = described.get("norm_cfg", {"name": "group_norm", "num_groups": 16})
    if norm.get("name") != "group_norm" or norm.get("num_groups", 16) != 16:
        raise ValueError(f"norm_cfg is {norm}, but ResNets of 16 groups are supported")
    size, pooled = described.get("size", 18), described.get("avg_pool", False)
    return {"features": f"resnet{size}", "average_pool": pooled}


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    given: Arguments = net.__dict__.get("arguments", {})
    kind = type(net).__name__
    if kind not in ("DiTPolicy", "DiTNoiseNet"):
        return None
    inner = {name: given[ours] for name, (ours, _) in _NOISE_NET.items()}
    sizes = {"ac_dim": given["action_dim"], "ac_chunk": given["chunk"]}
    if kind == "DiTNoiseNet":
        return {"cls": "_DiTNoiseNet"} | sizes | inner
    for name in ("shared_features", "language_dim"):
        if given[name]:
            raise ValueError(f"the official code has no working counterpart of {name}")
    if given["predicts"] != "noise":
        raise ValueError(
            f"official policies predict the noise, this network predicts the {given['predicts']}"
        )
    if not given["cameras"]:
        raise ValueError("the official code has no policy without cameras")
    found = sizes | {
        "cls": "DiffusionTransformerAgent",
        "noise_net_kwargs": inner,
        "n_cams": len(given["cameras"]),
        "imgs_per_cam": given["frames"],
        "early_fusion": given["early_fusion"],
        "dropout": given["token_dropout"],
        "token_dim": given["dim"],
        "train_diffusion_steps": given["diffusion_steps"],
        "eval_diffusion_steps": given["sampling_steps"],
        "feat_norm": {v: k for k, v in _NORMS.items()}[given["token_norm"]],
        "use_obs": False,
    }
    if given["state_dim"] is not None:
        names = {"token": "add_token", "pad": "pad_img_tokens"}
        width = given["state_dim"] * given["state_frames"]  # side by side
        found |= {"odim": width, "use_obs": names[given["state_as"]]}
    if given["features"] == "patches":
        if given["patch_size"] != 4:
            raise ValueError("patches have a counterpart with patch_size = 4 alone")
        return found | {"feature_dim": given["feature_dim"] or given["dim"]}
    norm = {"name": "group_norm", "num_groups": 16}
    size = int(given["features"].removeprefix("resnet"))
    return found | {"features": {"size": size, "norm_cfg": norm, "avg_pool": given["average_pool"]}}


def _noise_net_case(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """The noise of a chunk; intermediate tensors are recorded sequence first."""
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    mid = _watch(model)
    eps = model(inputs["noise_actions"], inputs["time"], inputs["obs_tokens"])
    return Replay({"eps": eps}, inputs, model, mid=mid)


def _watch(net: nn.Module) -> dict[str, Tensor]:
    mid: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _, __, out: mid.__setitem__(name, _first(out)))

    for part, name in (("encoder", "enc"), ("decoder", "dec")):
        for number, layer in enumerate(net.get_submodule(part).children()):
            keep(f"{name}_{number}", layer)
    first = net.get_submodule("decoder.0")
    first.register_forward_pre_hook(lambda _, given: mid.__setitem__("dec_in", _first(given[0])))
    keep("time_enc", net.get_submodule("time"))
    return mid


def _first(value: Tensor) -> Tensor:
    """(b, l, d) -> (l, b, d), as recorded; (b, d) stays."""
    return value.detach().transpose(0, 1) if value.ndim == 3 else value.detach()


def _agent_case(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """The loss with recorded noise, and `out/actions_<n>_steps` from a recorded start."""
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    observation = {camera: inputs[camera] for camera in model.cameras}
    if "obs" in inputs:
        observation["state"] = inputs["obs"]
    actions, noise, time = inputs["actions"], inputs["noise"], inputs["timesteps"]
    mid = {"alphas_cumprod": model.diffusion.alphas_cumprod}
    model.tokens.register_forward_hook(lambda _, __, out: mid.__setitem__("obs_tokens", out))
    mid["noisy_actions"] = noisy = model.diffusion.add_noise(actions, noise, time)
    # not `model.loss`, which refuses the recorded actions outside [-1, 1]
    loss_of = import_object("surform.robotics.dit_policy:masked_chunk_loss")
    loss = loss_of(model(observation, noisy, time), noise, inputs["mask"] > 0)
    outputs = {"loss": loss}
    for name in fixture.named("out"):
        if name.startswith("actions_"):
            steps = int(name.split("_")[1])
            mid[f"ddim_timesteps_{steps}"] = torch.tensor(model.diffusion.times(steps))
            with torch.no_grad():
                outputs[name] = model.sample(observation, inputs["initial_noise"], steps)
    return Replay(outputs, inputs, model, loss=loss, mid=mid)


SYSTEM = System(
    name="dit_policy",
    kinds={"noise_net": _noise_net_case, "agent": _agent_case, "features": features},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=DROPPED,
    infer=infer,
    surrogate="policy",
    noise=("dropout", "token_dropout", "state_dropout"),
    describe=_describe,
)
