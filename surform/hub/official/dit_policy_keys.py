"""Keys of the official diffusion transformer policy <-> ours.

The six modulations of a decoder layer are one linear map here; everything else is renamed.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.renaming import Renaming

__all__ = ["DROPPED", "infer", "to_official", "to_ours"]

State = dict[str, Tensor]

DROPPED = {"*enc_pos.pe*": "a table that its formula gives"}
# in the order in which our map has them
_MODULATIONS = (
    "attn_mod1.scale", "attn_mod1.shift", "attn_mod2.scale",
    "mlp_mod1.scale", "mlp_mod1.shift", "mlp_mod2.scale",
)  # fmt: skip
_LAYER = (
    ("self_attn.in_proj_", "attention.qkv."),
    ("self_attn.out_proj.", "attention.out."),
    ("linear1.", "feed_forward.up."),
    ("linear2.", "feed_forward.down."),
    ("", ""),
)
_NOISE_NET = (
    ("dec_pos", "positions"),
    ("time_net.w", "time.frequencies"),
    ("time_net.out_net.0.", "time.up."),
    ("time_net.out_net.2.", "time.down."),
    ("ac_proj.", "actions."),
    ("eps_out.adaLN_modulation.1.", "output.modulation."),
    ("eps_out.linear.", "output.linear."),
    *(
        (f"{part}.layers.#.{official}", f"{part}.#.{ours}")
        for part in ("encoder", "decoder")
        for official, ours in _LAYER
    ),
)
_NAMES = Renaming(
    (
        ("visual_features.#._model.", "tokens.features.#.net."),
        ("visual_features.#.", "tokens.features.#."),
        ("_obs_proc.1.", "tokens.state."),
        ("post_proc.0.", "tokens.project."),
        ("post_proc.1.", "tokens.norm."),
        # of a whole policy, and alone
        *((f"noise_net.{official}", f"noise_net.{ours}") for official, ours in _NOISE_NET),
        *_NOISE_NET,
    )
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
            found[_NAMES.ours(key)] = value
        elif part[2] == _MODULATIONS[0]:
            names = [f"{part[1]}.{name}.{part[3]}" for name in _MODULATIONS]
            whole = torch.cat([state[name] for name in names])
            found[_NAMES.ours(f"{part[1]}.modulation.{part[3]}")] = whole
    return found


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    found: State = {}
    for key, value in state.items():
        whole = _WHOLE.match(key)
        if whole is None:
            official = _NAMES.official(key)
            found[official] = value[:, None] if official.endswith("dec_pos") else value
            continue
        layer = _NAMES.official(f"{whole[1]}.")
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
