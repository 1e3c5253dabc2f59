"""Parameter names of HPT, of one robot ("domain"): official state dict <-> ours.

The learned key and value of a block's attention are one parameter here; what all samples share has
no axis of samples. Where a stem has several copies, the official code shares their weights and
names them once for each copy.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import torch
from torch import Tensor

from surform.hub.official.renaming import Renaming

__all__ = ["of_other_robots", "to_official", "to_ours"]

State = dict[str, Tensor]

_BLOCK = (
    ("attn.in_proj_", "attention.qkv."),
    ("attn.out_proj.", "attention.out."),
    ("norm_", "norm"),
    ("mlp.fc1.", "feed_forward.up."),
    ("mlp.fc2.", "feed_forward.down."),
)
_QUERIES = (
    ("cross_attention.to_q.", "queries.query."),
    ("cross_attention.to_kv.", "queries.key_value."),
    ("cross_attention.to_out.", "queries.out."),
    ("tokens", "queries.tokens"),
)
_RESIDUAL = (
    ("blocks.0.block.", "first."),
    ("blocks.1.block.", "second."),
    ("cond_encoder.1.", "film."),
    ("residual_conv.", "skip."),
)
_UNET = (
    ("diffusion_step_encoder.1.", "time.0."),
    ("diffusion_step_encoder.3.", "time.2."),
    ("down_modules.#.2.conv.", "downsample.#."),
    ("up_modules.#.2.conv.", "upsample.#."),
    *(
        (place + official, name + ours)
        for place, name in (
            ("down_modules.#.#.", "down.#.#."),
            ("up_modules.#.#.", "up.#.#."),
            ("mid_modules.#.", "middle.#."),
        )
        for official, ours in _RESIDUAL
    ),
    ("final_conv.0.block.", "last."),
    ("final_conv.1.", "out."),
)
_LIMITS = (
    ("scale", "scale"),
    ("offset", "offset"),
    ("input_stats.min", "minimum"),
    ("input_stats.max", "maximum"),
    ("input_stats.mean", "mean"),
    ("input_stats.std", "deviation"),
)
_EXTRA = re.compile(r"(trunk\.trunk\.blocks\.\d+\.)attn\.bias_([kv])$")
_STEM_LAYER = re.compile(r"stems\.([^.]+)\.net\.(\d+\..*)")


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names.

    Raises:
        ValueError: copies of a stem with weights of their own.
    """
    names, found = _names(constructor.get("domain", "")), {}
    for key, value in _without_copies(state, constructor).items():
        extra = _EXTRA.match(key)
        if key.startswith("modalities_tokens.") or (extra and extra[2] == "v"):
            continue
        if extra:
            pair = torch.cat((value[0], state[f"{extra[1]}attn.bias_v"][0]))
            found[f"{names.ours(extra[1])}attention.extra"] = pair
        else:
            ours = names.ours(key)
            found[ours] = value[0] if _shared(ours) else value
    return found


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    names, found = _names(constructor.get("domain", "")), {}
    for key, value in state.items():
        if key.endswith("attention.extra"):
            block = f"{names.official(key.removesuffix('attention.extra'))}attn.bias_"
            found[f"{block}k"], found[f"{block}v"] = value[:1, None], value[1:, None]
            continue
        official = names.official(key)
        layer, whole = _STEM_LAYER.match(key), value[None] if _shared(key) else value
        copies = _copies(constructor, layer[1]) if layer else 1
        if layer is None or copies == 1:
            found[official] = whole
            continue
        start = official.removesuffix(layer[2])
        found |= {f"{start}{copy}.{layer[2]}": whole for copy in range(copies)}
    return found


def of_other_robots(state: State, constructor: dict[str, Any]) -> dict[str, str]:
    """Keys of other domains than the constructor's in a file of several -> why they are left."""
    domain = constructor.get("domain", "")
    own = (f"stems.{domain}_", f"heads.{domain}.", f"normalizer.{domain}.")
    parts = ("stems.", "heads.", "normalizer.", "action_tokens.")
    return {
        key: f"of another robot than {domain}"
        for key in state
        if key.startswith(parts) and not key.startswith(own) and key != f"action_tokens.{domain}"
    }


def _shared(ours: str) -> bool:
    return ours.endswith("queries.tokens") or ours == "action_tokens"


def _copies(constructor: dict[str, Any], modality: str) -> int:
    return int(constructor.get("stem", {}).get(modality, {}).get("num_of_copy", 1))


def _without_copies(state: State, constructor: dict[str, Any]) -> State:
    """Stems that have copies under the names that they have without."""
    domain, found = constructor.get("domain", ""), dict(state)
    for modality in constructor.get("stem", {}).get("modalities", ()):
        if _copies(constructor, modality) == 1:
            continue
        start = f"stems.{domain}_{modality}.net."
        for key in [key for key in state if key.startswith(start)]:
            value, (_, _, layer) = found.pop(key), key.removeprefix(start).partition(".")
            kept = found.setdefault(f"{start}{layer}", value)
            if not torch.equal(kept, value):
                raise ValueError(f"{key} differs from the first copy's: copies share weights")
    return found


def _names(domain: str) -> Renaming:
    stem, head = f"stems.{domain}_@.", f"heads.{domain}."
    limits = f"normalizer.{domain}.params_dict.@."
    return Renaming(
        itertools.chain(
            ((f"trunk.trunk.blocks.#.{a}", f"trunk.blocks.#.{b}") for a, b in _BLOCK),
            [("trunk.trunk.blocks.#.", "trunk.blocks.#.")],
            ((stem + a, f"stems.@.{b}") for a, b in _QUERIES),
            [(stem, "stems.@.")],
            ((f"{head}model.{a}", f"head.net.{b}") for a, b in _UNET),
            ((head + a, f"head.{b}") for a, b in (*_QUERIES, ("mlp.", "context."))),
            [(head, "head.")],
            ((limits + a, f"limits.@.{b}") for a, b in _LIMITS),
            [(f"action_tokens.{domain}", "action_tokens")],
        )
    )
