"""Official ViTPose configurations read off the shapes of a bare state dict."""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor

__all__ = ["infer"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_HEADS = {384: 12, 768: 12, 1024: 16, 1280: 16}  # of the published widths
_ASPECT = (4, 3)  # height to width of published crops


def infer(state: State) -> Arguments:
    """The official model config; ValueError where the weights do not tell it.

    Experts, their part_features, kind of decoder and numbers of joints are what the weights have:
    the released S weights of ViTPose+ have other part_features than their configuration file.
    """
    embed = state["backbone.patch_embed.proj.weight"]
    dim, channels, patch, _ = embed.shape
    if dim not in _HEADS:
        raise ValueError(
            f"a ViTPose of width {dim} is none of the published ones, whose numbers of heads are "
            "known: give the official constructor arguments"
        )
    first = "backbone.blocks.0"
    experts = _count(state, r"backbone\.blocks\.0\.mlp\.experts\.(\d+)\.weight")
    backbone: Arguments = {
        "type": "ViTMoE" if experts else "ViT",
        "img_size": _image(state["backbone.pos_embed"].shape[1] - 1, patch),
        "patch_size": patch,
        "in_chans": channels,
        "embed_dim": dim,
        "depth": _count(state, r"backbone\.blocks\.(\d+)\..*"),
        "num_heads": _HEADS[dim],
        "mlp_ratio": len(state[f"{first}.mlp.fc1.weight"]) / dim,
        "qkv_bias": f"{first}.attn.qkv.bias" in state,
        "last_norm": "backbone.last_norm.weight" in state,
    }
    if experts:
        part = len(state[f"{first}.mlp.experts.0.weight"])
        backbone |= {"num_expert": experts, "part_features": part}
    found: Arguments = {
        "type": "TopDownMoE" if experts else "TopDown",
        "backbone": backbone,
        "keypoint_head": _head(state, "keypoint_head", dim),
    }
    others = _count(state, r"associate_keypoint_heads\.(\d+)\..*")
    if others:
        found["associate_keypoint_head"] = [
            _head(state, f"associate_keypoint_heads.{number}", dim) for number in range(others)
        ]
    return found


def _head(state: State, prefix: str, dim: int) -> Arguments:
    final = state[f"{prefix}.final_layer.weight"]
    deconvolutions = [
        value
        for key, value in state.items()
        if re.fullmatch(re.escape(prefix) + r"\.deconv_layers\.\d+\.weight", key) and value.ndim > 1
    ]
    head: Arguments = {
        "in_channels": dim,
        "out_channels": len(final),
        "num_deconv_layers": len(deconvolutions),
        "num_deconv_filters": [value.shape[1] for value in deconvolutions],
        "num_deconv_kernels": [value.shape[-1] for value in deconvolutions],
        "extra": {"final_conv_kernel": final.shape[-1]},
    }
    return head if deconvolutions else head | {"upsample": 4}


def _count(state: State, pattern: str) -> int:
    """One more than the largest number that the pattern finds."""
    numbers = (re.fullmatch(pattern, key) for key in state)
    return 1 + max((int(found[1]) for found in numbers if found), default=-1)


def _image(places: int, patch: int) -> list[int]:
    """(height, width) of crops with so many patches: three quarters as wide as high, or square."""
    side = math.isqrt(places)
    if side * side == places:
        return [side * patch] * 2
    unit = math.isqrt(places // math.prod(_ASPECT))
    if unit * unit * math.prod(_ASPECT) == places:
        return [unit * part * patch for part in _ASPECT]
    raise ValueError(
        f"the weights have positions of {places} patches, which tell neither a square nor a 4:3 "
        "crop: give the official constructor arguments"
    )
