"""transformers' VitPose folders: their settings and names <-> those of the official code.

transformers runs the weights with layer norms of eps 1e-12 where the official code has 1e-6; the
number travels with the model. It has one head, the first data set's, for ViTPose+ as well.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.hugging_face import Layout
from surform.hub.official.vitpose_keys import to_official

__all__ = ["LAYOUT"]

State = dict[str, Tensor]
Values = dict[str, Any]

_DEFAULTS: Values = {  # what transformers leaves out of a config when it is as here
    "image_size": [256, 192],
    "patch_size": [16, 16],
    "num_channels": 3,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "num_experts": 1,
    "part_features": 256,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "qkv_bias": True,
}
_SAME = {
    "num_channels": "in_chans",
    "hidden_size": "embed_dim",
    "num_hidden_layers": "depth",
    "num_attention_heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "layer_norm_eps": "norm_eps",
}
# (transformers, official) with "#" for the number of the block
_NAMES = (
    ("backbone.embeddings.position_embeddings", "backbone.pos_embed"),
    ("backbone.embeddings.patch_embeddings.projection.", "backbone.patch_embed.proj."),
    ("backbone.layernorm.", "backbone.last_norm."),
    ("backbone.encoder.layer.#.layernorm_before.", "backbone.blocks.#.norm1."),
    ("backbone.encoder.layer.#.layernorm_after.", "backbone.blocks.#.norm2."),
    ("backbone.encoder.layer.#.attention.output.dense.", "backbone.blocks.#.attn.proj."),
    ("backbone.encoder.layer.#.mlp.", "backbone.blocks.#.mlp."),
    ("head.deconv1.", "keypoint_head.deconv_layers.0."),
    ("head.batchnorm1.", "keypoint_head.deconv_layers.1."),
    ("head.deconv2.", "keypoint_head.deconv_layers.3."),
    ("head.batchnorm2.", "keypoint_head.deconv_layers.4."),
    ("head.conv.", "keypoint_head.final_layer."),
)
_SELF = "backbone.encoder.layer.{}.attention.attention."
_PARTS = ("query", "key", "value")


def _read(config: Values, state: State) -> tuple[Values, State]:
    """Official constructor arguments and state dict of what transformers wrote."""
    given = _DEFAULTS | (config.get("backbone_config") or {})
    _require_known(given)
    head = state["head.conv.weight"]
    experts = given["num_experts"]
    backbone: Values = {official: given[theirs] for theirs, official in _SAME.items()}
    backbone |= {
        "type": "ViTMoE" if experts > 1 else "ViT",
        "img_size": _pair(given["image_size"]),
        "patch_size": _pair(given["patch_size"])[0],
    }
    if experts > 1:
        part = state["backbone.encoder.layer.0.mlp.experts.0.weight"]  # whatever the config says
        backbone |= {"num_expert": experts, "part_features": len(part)}
    decoder: Values = {"out_channels": len(head), "extra": {"final_conv_kernel": head.shape[-1]}}
    if config.get("use_simple_decoder", True):
        decoder |= {"num_deconv_layers": 0, "upsample": config.get("scale_factor", 4)}
    else:
        decoder |= {"num_deconv_layers": 2, "num_deconv_filters": [256, 256]}
        decoder |= {"num_deconv_kernels": [4, 4]}
    kind = "TopDownMoE" if experts > 1 else "TopDown"
    return {"type": kind, "backbone": backbone, "keypoint_head": decoder}, _joined(state)


def _require_known(given: Values) -> None:
    """ValueError for settings of transformers that no ViTPose has."""
    depth, last = given["num_hidden_layers"], given.get("out_indices") or []
    stages = given.get("out_features") or []
    problems = {
        f"model_type {given.get('model_type')!r}": given.get("model_type", "vitpose_backbone")
        != "vitpose_backbone",
        f"hidden_act {given['hidden_act']!r}": given["hidden_act"] != "gelu",
        "patches that are not square": len(set(_pair(given["patch_size"]))) > 1,
        f"out_indices {last}": bool(last) and list(last)[-1] not in (depth, -1),
        f"out_features {stages}": bool(stages) and stages[-1] != f"stage{depth}",
    }
    found = [name for name, is_so in problems.items() if is_so]
    if found:
        raise ValueError(f"a VitPose backbone with {', '.join(found)} is not supported")


def _write(net: nn.Module) -> tuple[Values, State] | None:
    """transformers' config and state dict of one of our networks."""
    arguments: Values = net.__dict__.get("arguments", {})
    plus = hasattr(net, "experts")
    if not {"decoder", "joints", "qkv_bias", "norm_eps"} <= set(arguments):
        return None
    _require_exact(arguments, plus)
    if plus and len(arguments["joints"]) > 1:
        warnings.warn(
            f"transformers' VitPose has one head: of {len(arguments['joints'])} the first is "
            "written, and merged(dataset) makes a network of another one",
            stacklevel=3,
        )
    official = to_official(net.state_dict(), plus)
    state = _split(official)
    dim, depth, patch = arguments["dim"], arguments["depth"], arguments["patch_size"]
    backbone: Values = {
        "model_type": "vitpose_backbone",
        "image_size": list(arguments["image_size"]),
        "patch_size": [patch, patch],
        "num_channels": arguments["in_channels"],
        "hidden_size": dim,
        "num_hidden_layers": depth,
        "num_attention_heads": arguments["heads"],
        "mlp_ratio": int(arguments["mlp_ratio"]),
        "hidden_act": "gelu",
        "layer_norm_eps": arguments["norm_eps"],
        "qkv_bias": arguments["qkv_bias"],
        "out_indices": [depth],
        "out_features": [f"stage{depth}"],
        "num_experts": arguments["experts"] if plus else 1,
    }
    if plus:
        backbone["part_features"] = arguments["part_features"]
    joints = range(len(official["keypoint_head.final_layer.weight"]))
    simple = arguments["decoder"] == "simple"
    config: Values = {
        "architectures": ["VitPoseForPoseEstimation"],
        "model_type": "vitpose",
        "backbone_config": backbone,
        "use_simple_decoder": simple,
        "scale_factor": arguments["upsample"] if simple else 4,
        "id2label": {str(joint): f"LABEL_{joint}" for joint in joints},
        "label2id": {f"LABEL_{joint}": joint for joint in joints},
    }
    return config, state


def _require_exact(arguments: Mapping[str, Any], plus: bool) -> None:
    """ValueError unless transformers' class computes what the network does."""
    kernel = arguments["final_kernel"]
    if arguments["decoder"] == "simple":
        decoder = kernel in (None, 3)
    else:
        sizes = tuple(arguments["deconv_channels"]), tuple(arguments["deconv_kernels"])
        decoder = kernel in (None, 1) and sizes == ((256, 256), (4, 4))
    problems = {
        "ratio other than 1": arguments["ratio"] != 1,
        "last_norm = False": not arguments["last_norm"],
        "a knowledge token": arguments["knowledge_dim"] > 0,
        "a fractional mlp_ratio": arguments["mlp_ratio"] != int(arguments["mlp_ratio"]),
        "a decoder of other sizes than published": not decoder,
        "a single expert": plus and arguments["experts"] == 1,
    }
    found = [name for name, is_so in problems.items() if is_so]
    if found:
        raise ValueError(f"transformers' VitPose has no counterpart of {', '.join(found)}")


def _joined(state: State) -> State:
    """transformers' state dict -> official one: queries, keys and values in one map."""
    official = {}
    for key, value in state.items():
        part = re.fullmatch(_SELF.format(r"(\d+)") + r"(query|key|value)\.(weight|bias)", key)
        if part is None:
            official[_renamed(key, 0)] = value
        elif part[2] == "query":
            start, end = _SELF.format(part[1]), part[3]
            whole = torch.cat([state[f"{start}{name}.{end}"] for name in _PARTS])
            official[f"backbone.blocks.{part[1]}.attn.qkv.{end}"] = whole
    return official


def _split(state: State) -> State:
    """Official state dict -> transformers' one; heads beyond the first have no place in it."""
    theirs = {}
    for key, value in state.items():
        found = re.fullmatch(r"backbone\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)", key)
        if found:
            names = (f"{_SELF.format(found[1])}{part}.{found[2]}" for part in _PARTS)
            theirs |= dict(zip(names, value.chunk(3), strict=True))
        elif not key.startswith("associate_keypoint_heads."):
            theirs[_renamed(key, 1)] = value
    return theirs


def _renamed(key: str, source: int) -> str:
    for pair in _NAMES:
        found = re.match(re.escape(pair[source]).replace(r"\#", r"(\d+)"), key)
        if found:
            number = found[1] if found.groups() else ""
            return pair[1 - source].replace("#", number) + key[found.end() :]
    return key


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(v) for v in value]


LAYOUT = Layout(system="vitpose", read=_read, write=_write)
