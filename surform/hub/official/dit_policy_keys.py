"""Keys of the official diffusion transformer policy <-> ours.

The six modulations of a decoder layer are one linear map here; everything else is renamed.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

__all__ = ["DROPPED", "infer", "to_official", "to_ours"]

State = dict[str, Tensor]

DROPPED = {"*enc_pos.pe*": "a table that its formula gives"}
# in the order in which our map has them
_MODULATIONS = (
    "attn_mod1.scale", "attn_mod1.shift", "attn_mod2.scale",
    "mlp_mod1.scale", "mlp_mod1.shift", "mlp_mod2.scale",
)  # fmt: skip
# official pattern -> ours
_TO_OURS = (
    (r"^visual_features\.(\d+)\._model\.", r"tokens.features.\1.net."),
    (r"^visual_features\.(\d+)\.", r"tokens.features.\1."),
    (r"^_obs_proc\.1\.", "tokens.state."),
    (r"^post_proc\.0\.", "tokens.project."),
    (r"^post_proc\.1\.", "tokens.norm."),
    (r"(^|\.)dec_pos$", r"\1positions"),
    (r"(^|\.)time_net\.w$", r"\1time.frequencies"),
    (r"(^|\.)time_net\.out_net\.0\.", r"\1time.up."),
    (r"(^|\.)time_net\.out_net\.2\.", r"\1time.down."),
    (r"(^|\.)ac_proj\.", r"\1actions."),
    (r"(^|\.)(en|de)coder\.layers\.(\d+)\.self_attn\.in_proj_", r"\1\2coder.\3.attention.qkv."),
    (r"(^|\.)(en|de)coder\.layers\.(\d+)\.self_attn\.out_proj\.", r"\1\2coder.\3.attention.out."),
    (r"(^|\.)(en|de)coder\.layers\.(\d+)\.linear1\.", r"\1\2coder.\3.feed_forward.up."),
    (r"(^|\.)(en|de)coder\.layers\.(\d+)\.linear2\.", r"\1\2coder.\3.feed_forward.down."),
    (r"(^|\.)(en|de)coder\.layers\.(\d+)\.", r"\1\2coder.\3."),
    (r"(^|\.)eps_out\.adaLN_modulation\.1\.", r"\1output.modulation."),
    (r"(^|\.)eps_out\.linear\.", r"\1output.linear."),
)
_TO_OFFICIAL = (
    (r"^tokens\.features\.(\d+)\.net\.", r"visual_features.\1._model."),
    (r"^tokens\.features\.(\d+)\.", r"visual_features.\1."),
    (r"^tokens\.state\.", "_obs_proc.1."),
    (r"^tokens\.project\.", "post_proc.0."),
    (r"^tokens\.norm\.", "post_proc.1."),
    (r"(^|\.)positions$", r"\1dec_pos"),
    (r"(^|\.)time\.frequencies$", r"\1time_net.w"),
    (r"(^|\.)time\.up\.", r"\1time_net.out_net.0."),
    (r"(^|\.)time\.down\.", r"\1time_net.out_net.2."),
    (r"(^|\.)actions\.", r"\1ac_proj."),
    (r"(^|\.)(en|de)coder\.(\d+)\.attention\.qkv\.", r"\1\2coder.layers.\3.self_attn.in_proj_"),
    (r"(^|\.)(en|de)coder\.(\d+)\.attention\.out\.", r"\1\2coder.layers.\3.self_attn.out_proj."),
    (r"(^|\.)(en|de)coder\.(\d+)\.feed_forward\.up\.", r"\1\2coder.layers.\3.linear1."),
    (r"(^|\.)(en|de)coder\.(\d+)\.feed_forward\.down\.", r"\1\2coder.layers.\3.linear2."),
    (r"(^|\.)(en|de)coder\.(\d+)\.", r"\1\2coder.layers.\3."),
    (r"(^|\.)output\.modulation\.", r"\1eps_out.adaLN_modulation.1."),
    (r"(^|\.)output\.linear\.", r"\1eps_out.linear."),
)
_PART = re.compile(rf"(.*decoder\.layers\.\d+)\.({'|'.join(map(re.escape, _MODULATIONS))})\.(\w+)$")
_WHOLE = re.compile(r"(.*decoder\.\d+)\.modulation\.(\w+)$")


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    found: State = {}
    for key, value in state.items():
        if "enc_pos.pe" in key:
            continue
        part = _PART.match(key)
        if part is None:
            value = value[:, 0] if key.endswith("dec_pos") else value
            found[_renamed(key, _TO_OURS)] = value
        elif part[2] == _MODULATIONS[0]:
            names = [f"{part[1]}.{name}.{part[3]}" for name in _MODULATIONS]
            whole = torch.cat([state[name] for name in names])
            found[_renamed(f"{part[1]}.modulation.{part[3]}", _TO_OURS)] = whole
    return found


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    found: State = {}
    for key, value in state.items():
        whole = _WHOLE.match(key)
        if whole is None:
            official = _renamed(key, _TO_OFFICIAL)
            found[official] = value[:, None] if official.endswith("dec_pos") else value
            continue
        layer = _renamed(f"{whole[1]}.", _TO_OFFICIAL)
        for name, part in zip(_MODULATIONS, value.chunk(len(_MODULATIONS)), strict=True):
            found[f"{layer}{name}.{whole[2]}"] = part
    return found


def infer(state: State) -> dict[str, Any]:
    """What shapes tell; what they do not is named in the error."""
    prefix = "noise_net." if "noise_net.dec_pos" in state else ""
    positions, actions = state[f"{prefix}dec_pos"], state[f"{prefix}ac_proj.0.weight"]
    found = {
        "ac_chunk": positions.shape[0],
        "hidden_dim": positions.shape[2],
        "ac_dim": actions.shape[0],
        "dim_feedforward": len(state[f"{prefix}encoder.layers.0.linear1.weight"]),
    }
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"the weights tell {read}, but not nhead and activation: give the official constructor "
        "arguments"
    )


def _renamed(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, target in table:
        changed, count = re.subn(pattern, target, key, count=1)
        if count:
            return changed
    return key
