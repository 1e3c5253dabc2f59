"""Parameter names of ViTPose and ViTPose+: official state dict <-> ours."""

from __future__ import annotations

import re

import torch
from torch import Tensor

__all__ = ["DROPPED", "rename", "to_official", "to_ours"]

State = dict[str, Tensor]

_BACKBONE = (
    ("pos_embed", "positions"),
    ("patch_embed.proj.", "patch."),
    ("last_norm.", "norm."),
)
_BLOCK = (
    ("attn.qkv.", "attention.qkv."),
    ("attn.proj.", "attention.out."),
    ("mlp.fc1.", "feed_forward.up."),
    ("mlp.fc2.", "feed_forward.down."),
    ("mlp.experts.", "feed_forward.experts."),
)
DROPPED = {
    "backbone.cls_token": "the official forward pass has no class token",
}


def to_ours(state: State, plus: bool) -> State:
    """Official state dict -> ours; `plus`: ViTPose+, whose heads are numbered."""
    ours: State = {}
    experts: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        name = rename(key, plus)
        found = re.fullmatch(r"(.*\.experts)\.(\d+)\.(weight|bias)", name)
        if found:
            experts.setdefault(f"{found[1]}.{found[3]}", {})[int(found[2])] = value
        else:
            ours[name] = value
    stacked = {n: torch.stack([maps[e] for e in sorted(maps)]) for n, maps in experts.items()}
    return ours | stacked


def to_official(state: State, plus: bool) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    official: State = {}
    for name, value in state.items():
        key = _official(name, plus)
        found = re.fullmatch(r"(.*\.experts)\.(weight|bias)", key)
        if found:
            official |= {f"{found[1]}.{e}.{found[2]}": part for e, part in enumerate(value)}
        else:
            official[key] = value
    return official


def rename(key: str, plus: bool) -> str:
    """One official key under our name; experts keep their number, which we have stacked."""
    if key.startswith("backbone."):
        return _backbone(key, 0)
    found = re.match(r"(?:keypoint_head|associate_keypoint_heads\.(\d+))\.", key)
    if found is None:
        return key
    rest = key[found.end() :]
    head = f"heads.{int(found[1]) + 1 if found[1] else 0}." if plus else "head."
    layer = re.match(r"deconv_layers\.(\d+)\.", rest)
    if layer:  # a deconvolution, its norm, a ReLU, the next deconvolution ...
        number, part = divmod(int(layer[1]), 3)
        kind = ("deconvolution", "norm", "relu")[part]
        return f"{head}deconvolutions.{number}.{kind}.{rest[layer.end() :]}"
    return head + rest.replace("final_layer.", "final.", 1)


def _official(name: str, plus: bool) -> str:
    if name.startswith("backbone."):
        return _backbone(name, 1)
    found = re.match(r"head\.|heads\.(\d+)\." if plus else r"head\.", name)
    if found is None:
        return name
    rest, number = name[found.end() :], int(found[1]) if plus and found[1] else 0
    head = f"associate_keypoint_heads.{number - 1}." if number else "keypoint_head."
    layer = re.match(r"deconvolutions\.(\d+)\.(deconvolution|norm)\.", rest)
    if layer:
        place = 3 * int(layer[1]) + (layer[2] == "norm")
        return f"{head}deconv_layers.{place}.{rest[layer.end() :]}"
    return head + rest.replace("final.", "final_layer.", 1)


def _backbone(key: str, source: int) -> str:
    block = re.match(r"backbone\.blocks\.\d+\.", key)
    start = block.group() if block else "backbone."
    rest = key.removeprefix(start)
    for pair in _BLOCK if block else _BACKBONE:
        if rest.startswith(pair[source]):
            return start + pair[1 - source] + rest.removeprefix(pair[source])
    return key
