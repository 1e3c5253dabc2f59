"""How ViTPose begins: weights of masked autoencoders, learning rates by layer."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay
from surform.hub.official.vitpose_keys import rename, to_official
from surform.registry import create_model, import_object

__all__ = ["init_mae", "layer_decay", "mae_to_ours"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

# what a masked autoencoder has and a pose backbone has not
_LEFT = re.compile(r"(cls_token|mask_token|norm\.|fc_norm\.|head\.|decoder_).*")


def mae_to_ours(state: State) -> State:
    """An encoder's official state dict under the names of our backbone; the rest is left out.

    `norm` is left, too, as published: it is no `last_norm`.
    """
    kept = {f"backbone.{key}": value for key, value in state.items() if not _LEFT.fullmatch(key)}
    return {rename(key, False).removeprefix("backbone."): value for key, value in kept.items()}


def init_mae(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """The backbone's tensors after a masked autoencoder's weights went in."""
    given, inputs = fixture.constructor, fixture.inputs(dtype)
    experts = given.get("num_expert") or 0
    arguments: Arguments = {
        "image_size": tuple(given["img_size"]),
        "patch_size": given.get("patch_size", 16),
        "dim": given["embed_dim"],
        "depth": given["depth"],
        "heads": given["num_heads"],
        "qkv_bias": given.get("qkv_bias", False),
        "mlp_ratio": given.get("mlp_ratio", 4.0),
        "ratio": given.get("ratio", 1),
        "joints": (1,) if experts else 1,
    }
    if experts:
        arguments |= {"experts": experts, "part_features": given["part_features"]}
    model = create_model("vitpose_plus" if experts else "vitpose", **arguments).to(dtype)
    backbone = model.get_submodule("backbone")
    ours = mae_to_ours({name: value.detach() for name, value in inputs.items()})
    fitted = import_object("surform.vision.pretraining:fit_backbone")(ours, backbone)
    backbone.load_state_dict(fitted, strict=False)
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    official = to_official(state, plus=bool(experts))
    outputs = {key.removeprefix("backbone."): value for key, value in official.items()}
    return Replay(outputs, inputs, model, to_official=lambda state: state)


def layer_decay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Share of the learning rate, and weight decay, of every parameter that the header names."""
    names = fixture.header.get("param_names", fixture.options.get("param_names"))
    if not names:
        raise ValueError(f"{fixture.path.name} does not name its parameters (param_names)")
    given = fixture.constructor
    model = _like(names, given["depth"])
    plus = hasattr(model, "heads")
    groups = import_object("surform.training.parameter_groups:decay_groups")
    of: dict[str, tuple[float, float]] = {}
    known = {id(weight): name for name, weight in model.named_parameters()}
    for group in groups(model, given["layer_decay_rate"]):
        decay = group.get("weight_decay", given.get("base_weight_decay", 0.0))
        of |= {known[id(weight)]: (group["lr_scale"], decay) for weight in group["params"]}
    ours = [re.sub(r"\.experts\.\d+\.", ".experts.", rename(name, plus)) for name in names]
    unknown = [name for name, our in zip(names, ours, strict=True) if our not in of]
    if unknown:
        raise ValueError(f"{fixture.path.name} names {unknown[0]}, which is no parameter of ours")
    scales, decays = zip(*(of[name] for name in ours), strict=True)
    outputs = {"lr_scale": torch.tensor(scales, dtype=dtype)}
    outputs["weight_decay"] = torch.tensor(decays, dtype=dtype)
    return Replay(outputs, fixture.inputs(dtype), model, to_official=lambda state: state)


def _like(names: list[str], depth: int) -> nn.Module:
    """A small network with the parameters of these official names."""

    def count(pattern: str) -> int:
        found = (re.search(pattern, name) for name in names)
        return len({match[1] for match in found if match})

    experts = count(r"blocks\.0\.mlp\.experts\.(\d+)\.")
    deconvolutions = count(r"^keypoint_head\.deconv_layers\.(\d+)\.weight") // 2
    arguments: Arguments = {
        "image_size": (32, 32),
        "dim": 8,
        "heads": 2,
        "depth": depth,
        "qkv_bias": any(name.endswith("attn.qkv.bias") for name in names),
        "last_norm": "backbone.last_norm.weight" in names,
        "deconv_channels": (4,) * deconvolutions,
        "deconv_kernels": (4,) * deconvolutions,
    }
    if not experts:
        return create_model("vitpose", joints=2, **arguments)
    heads = 1 + count(r"^associate_keypoint_heads\.(\d+)\.")
    own: Arguments = {"experts": experts, "part_features": 4, "joints": (2,) * heads}
    return create_model("vitpose_plus", **arguments, **own)
