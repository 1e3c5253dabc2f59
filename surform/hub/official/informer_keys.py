"""Parameter names and shapes of the Informer: official state dict <-> ours."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

__all__ = ["to_official", "to_ours"]

State = dict[str, Tensor]
Table = tuple[tuple[str, str], ...]

# (official, ours): beginnings of keys; "#" is a number, the same on both sides
_COLUMNS = ("month", "day", "weekday", "hour", "minute")  # of the calendar tables, in our order
_LAYER = (("conv1.", "feed_forward.up."), ("conv2.", "feed_forward.down."), ("norm", "norm"))
_ENCODER = (
    ("attn_layers.#.attention.", "layers.#.attention."),
    *((f"attn_layers.#.{a}", f"layers.#.{b}") for a, b in _LAYER),
    ("conv_layers.#.downConv.", "distil.#.conv.taps."),
    ("conv_layers.#.norm.", "distil.#.norm."),
    ("norm.", "norm."),
)
_DECODER = (
    ("self_attention.", "attention."),
    ("cross_attention.", "cross."),
    *_LAYER,
)
# our map -> the official projections that stand in it one below the other
_FUSED = {
    "attention.qkv": ("query", "key", "value"),
    "cross.query": ("query",),
    "cross.key_value": ("key", "value"),
}
_PROJECTION = re.compile(r"(.*\.(?:attention|cross))\.(query|key|value)_projection\.(\w+)")
_MAP = re.compile(r"(.*)\.(attention\.qkv|cross\.query|cross\.key_value)\.(\w+)")


def _table(embed: str) -> Table:
    """All pairs; `embed` decides how the calendar's tables are called."""
    inner = ".emb" if embed == "fixed" else ""
    columns = enumerate(_COLUMNS)
    calendar = (
        ("value_embedding.tokenConv.", "values.taps."),
        ("temporal_embedding.embed.", "calendar."),
        *(
            (f"temporal_embedding.{name}_embed{inner}.", f"calendar.tables.{i}.")
            for i, name in columns
        ),
    )
    if embed != "timeF":  # our tables begin like the linear map of continuous features
        calendar = (calendar[0], *calendar[2:])
    return (
        *((f"enc_embedding.{a}", f"embedding.{b}") for a, b in calendar),
        *((f"dec_embedding.{a}", f"decoder_embedding.{b}") for a, b in calendar),
        *((f"encoder.{a}", f"encoder.{b}") for a, b in _ENCODER),
        *((f"encoder.encoders.#.{a}", f"encoder.encoders.#.{b}") for a, b in _ENCODER),
        *((f"decoder.layers.#.{a}", f"decoder.#.{b}") for a, b in _DECODER),
        ("decoder.norm.", "norm."),
        ("projection.", "head."),
    )


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    table = _table(constructor.get("embed", "fixed"))
    ours: State = {}
    parts: dict[str, State] = {}
    for key, value in state.items():
        name = _renamed(key, table, 0)
        found = _PROJECTION.fullmatch(name)
        if found:
            parts.setdefault(_fused(*found.groups()), {})[found[2]] = value
        else:
            ours[name.replace(".out_projection.", ".out.")] = _our_shape(name, value)
    for name, held in parts.items():
        ours[name] = torch.cat([held[part] for part in ("query", "key", "value") if part in held])
    return ours


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    table = _table(constructor.get("embed", "fixed"))
    official: State = {}
    for name, value in state.items():
        found = _MAP.fullmatch(name)
        if not found:
            key = re.sub(r"\.(attention|cross)\.out\.", r".\1.out_projection.", name)
            official[_renamed(key, table, 1)] = _official_shape(name, value)
            continue
        held = _FUSED[found[2]]
        place = found[2].partition(".")[0]
        for part, chunk in zip(held, value.chunk(len(held)), strict=True):
            key = f"{found[1]}.{place}.{part}_projection.{found[3]}"
            official[_renamed(key, table, 1)] = chunk
    return official


def _renamed(key: str, table: Table, source: int) -> str:
    for pair in table:
        found = re.match(re.escape(pair[source]).replace(r"\#", r"(\d+)"), key)
        if found:
            target = pair[1 - source]
            for number in found.groups():
                target = target.replace("#", number, 1)
            return target + key[found.end() :]
    return key


def _fused(prefix: str, part: str, kind: str) -> str:
    """Our map that holds this projection."""
    place = prefix.rpartition(".")[2]
    name = next(one for one, held in _FUSED.items() if one.startswith(place) and part in held)
    return f"{prefix}.{name.partition('.')[2]}.{kind}"


def _our_shape(name: str, value: Tensor) -> Tensor:
    if name.endswith(".taps.weight") and value.ndim == 3:  # (dim, channels, taps)
        return value.transpose(1, 2).flatten(1)
    if ".feed_forward." in name and value.ndim == 3:  # a convolution over one step
        return value.squeeze(-1)
    return value


def _official_shape(name: str, value: Tensor) -> Tensor:
    if name.endswith(".taps.weight"):
        return value.unflatten(1, (3, -1)).transpose(1, 2)
    if ".feed_forward." in name and name.endswith(".weight"):
        return value.unsqueeze(-1)
    return value
