"""Keys of official Galerkin Transformers <-> ours: renamed, stacked and concatenated, both ways.

q, k and v lie in one Linear here, the norms of the heads in one tensor, and the two halves of a
2-D spectral weight in one; so the maps hold for gradients too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

__all__ = ["to_official", "to_ours"]

State = dict[str, Tensor]

# official <-> ours; # stands for a number, * for the rest of the key.
_NAMES = (
    ("feat_extract.id.*", "embed.*"),
    ("downscaler.id.*", "lift.*"),
    ("encoder_layers.#.attn.fc.*", "encoder.layers.#.attention.out.*"),
    ("encoder_layers.#.layer_norm1.*", "encoder.layers.#.norm1.*"),
    ("encoder_layers.#.layer_norm2.*", "encoder.layers.#.norm2.*"),
    ("encoder_layers.#.ff.lr1.*", "encoder.layers.#.ffn.linear1.*"),
    ("encoder_layers.#.ff.lr2.*", "encoder.layers.#.ffn.linear2.*"),
    ("encoder_layers.#.ff.bn.*", "encoder.layers.#.ffn.batch_norm.*"),
    ("regressor.fc.*", "decoder.grid.*"),
    ("regressor.spectral_conv.#.linear.*", "decoder.convs.#.linear.*"),
    ("regressor.spectral_conv.#.fourier_weight", "decoder.convs.#.weight"),
    ("regressor.regressor.0.*", "decoder.hidden.*"),
    ("regressor.regressor.2.*", "decoder.head.*"),
    ("regressor.ff.#.0.*", "decoder.layers.#.*"),
    ("regressor.out.*", "decoder.out.*"),
    *(
        pair
        for down, up in (("downscaler", "upscaler"), ("down", "up"))
        for pair in (
            (f"{down}.downsample.conv#.conv.0.*", f"{down}.convs.#.conv.*"),
            (f"{down}.downsample.#.conv#.conv.0.*", f"{down}.stages.#.#.conv.*"),
            (f"{up}.upsample.conv.0.conv.0.*", f"{up}.block.conv.*"),
            (f"{up}.upsample.0.deconv0.*", f"{up}.convs.0.*"),
            (f"{up}.upsample.0.deconv1.*", f"{up}.convs.1.*"),
            (f"{up}.upsample.1.deconv0.*", f"{up}.convs.2.*"),
            (f"{up}.upsample.1.deconv1.*", f"{up}.convs.3.*"),
        )
    ),
)
# Families "<before>@<after>": several official tensors, numbered at @, are one of ours.
_QKV = ("encoder_layers.#.attn.linears.@.*", "encoder.layers.#.attention.qkv.*")
_FAMILIES = (
    _QKV,
    ("encoder_layers.#.attn.norm_Q.@.*", "encoder.layers.#.attention.query_norm.*"),
    ("encoder_layers.#.attn.norm_K.@.*", "encoder.layers.#.attention.key_norm.*"),
    ("encoder_layers.#.attn.norm_V.@.*", "encoder.layers.#.attention.value_norm.*"),
    ("regressor.spectral_conv.#.fourier_weight.@", "decoder.convs.#.weight"),
)


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours; ValueError for a key that no part of our models stands for."""
    ours: State = {}
    families: dict[tuple[str, bool], dict[int, Tensor]] = defaultdict(dict)
    for key, value in state.items():
        for official, name in _NAMES:
            if (renamed := _rename(key, official, name)) is not None:
                ours[renamed] = value
                break
        else:
            family, index, joined = _member(key)
            families[family, joined][index] = value
    for (name, joined), members in families.items():
        parts = [members[i] for i in sorted(members)]
        ours[name] = torch.cat(parts) if joined else torch.stack(parts)
    return ours


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict, or gradients under our names, -> official keys."""
    official: State = {}
    for key, value in state.items():
        if (family := _split(key, value)) is not None:
            official.update(family)
            continue
        names = (_rename(key, ours, theirs) for theirs, ours in _NAMES)
        name = next((name for name in names if name is not None), None)
        if name is None:
            raise ValueError(f"{key} has no counterpart in the official Galerkin Transformer")
        official[name] = value
    return official


def _member(key: str) -> tuple[str, int, bool]:
    for official, ours in _FAMILIES:
        match = re.fullmatch(_pattern(official.replace("@", "(?P<at>#)")), key)
        if match:
            index = int(match["at"])
            name = _rename(key, official.replace("@", str(index)), ours)
            if name is not None:
                return name, index, official == _QKV[0]
    raise ValueError(f"unknown official key {key!r}")


def _split(key: str, value: Tensor) -> State | None:
    """The official members of one of our joined tensors; None for a tensor of its own."""
    for official, ours in _FAMILIES:
        if _rename(key, ours, official) is None:
            continue
        if official.endswith("@") and value.ndim == 4:
            return None  # a 1-D spectral weight is one tensor there as well
        parts = value.chunk(3) if official == _QKV[0] else value.unbind(0)
        names = (_rename(key, ours, official.replace("@", str(i))) for i in range(len(parts)))
        return {name: part for name, part in zip(names, parts, strict=True) if name is not None}
    return None


def _rename(key: str, source: str, target: str) -> str | None:
    match = re.fullmatch(_pattern(source), key)
    if match is None:
        return None
    found = iter(match.groups())
    return re.sub(r"[#*]", lambda _: next(found), target)


def _pattern(text: str) -> str:
    return text.replace(".", r"\.").replace("#", r"(\d+)").replace("*", "(.+)")
