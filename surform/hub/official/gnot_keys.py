"""Keys of official GNOT and CGPTNO models <-> ours: renamed, stacked and concatenated, both ways.

Queries, keys and values lie in one Linear here, and so do keys and values of an input function; all
experts of a mixture lie in one tensor, and a plain feed-forward map, or what follows the gate's
first map, is a mixture of one.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

__all__ = ["DROPPED", "to_official", "to_ours"]

State = dict[str, Tensor]
DROPPED = {"blocks.*.gatenet.*": "with one expert the gate is 1, whatever its weights"}

# official <-> ours; # stands for a number, * for the rest of the key
_NAMES = (
    *(
        (f"{theirs}.{part}", f"{ours}.{name}")
        for theirs, ours in (
            ("trunk_mlp", "trunk"),
            ("branch_mlps.#", "branches.#"),
            ("out_mlp", "head"),
        )
        for part, name in (
            ("linear_pre.*", "first.*"),
            ("linears.#.*", "hidden.#.*"),
            ("linear_post.*", "last.*"),
        )
    ),
    ("blocks.#.ln1.*", "layers.#.cross_norm.*"),
    ("blocks.#.ln2_branch.#.*", "layers.#.cross_attention.norms.#.*"),
    ("blocks.#.ln3.*", "layers.#.norm1.*"),
    ("blocks.#.ln4.*", "layers.#.self_norm.*"),
    ("blocks.#.ln5.*", "layers.#.norm2.*"),
    ("blocks.#.crossattn.query.*", "layers.#.cross_attention.query.*"),
    ("blocks.#.crossattn.proj.*", "layers.#.cross_attention.out.*"),
    ("blocks.#.selfattn.proj.*", "layers.#.self_attention.out.*"),
    ("blocks.#.gatenet.0.*", "layers.#.gate.first.*"),
)
# several official tensors, one of ours: concatenated in this order
_JOINED = (
    (
        [f"blocks.#.selfattn.{name}.*" for name in ("query", "key", "value")],
        "layers.#.self_attention.qkv.*",
    ),
    (
        [f"blocks.#.crossattn.{name}.#.*" for name in ("keys", "values")],
        "layers.#.cross_attention.key_values.#.*",
    ),
)
# tensors that ours stacks: one per expert, weights turned (rows are what goes in)
_OFFICIAL = re.compile(
    r"blocks\.(?P<layer>\d+)\."
    r"(?:(?:moe_)?mlp(?P<which>[12])\.(?:(?P<expert>\d+)\.)?(?P<map>[02])|gatenet\.(?P<gate>[24]))"
    r"\.(?P<kind>weight|bias)"
)
_STACKED = re.compile(
    r"layers\.(?P<layer>\d+)\.(?:mixture(?P<which>[12])|gate\.rest)\.(?P<map>up|down)_(?P<kind>\w+)"
)


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict -> ours; ValueError for a key that no part of our models stands for."""
    ours: State = {}
    members: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        if _alone(constructor) and ".gatenet." in key:
            continue
        if found := _OFFICIAL.fullmatch(key):
            name, number = _stacked(found)
            members.setdefault(name, {})[number] = _turned(value)
        elif (found := _member(key)) is not None:
            members.setdefault(found[0], {})[found[1]] = value
        else:
            ours[_renamed(key, _NAMES, f"unknown official key {key!r}")] = value
    for name, parts in members.items():
        together = [parts[i] for i in sorted(parts)]
        ours[name] = torch.stack(together) if _STACKED.fullmatch(name) else torch.cat(together)
    return ours


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict, or gradients under our names, -> official keys."""
    official: State = {}
    back = tuple((ours, theirs) for theirs, ours in _NAMES)
    for key, value in state.items():
        if found := _STACKED.fullmatch(key):
            # one expert: GNOT's constructor says so, CGPTNO's has no word for it
            official |= _unstacked(found, value, len(value) > 1 or "n_experts" in constructor)
        elif (family := _split(key, value)) is not None:
            official |= family
        else:
            fault = f"{key} has no counterpart in the official GNOT"
            official[_renamed(key, back, fault)] = value
    return official


def _alone(constructor: dict[str, Any]) -> bool:
    return constructor.get("n_experts") == 1


def _stacked(key: re.Match[str]) -> tuple[str, int]:
    """Our tensor of which this official one is a member, and its number."""
    if key["gate"]:
        part = {"2": "up", "4": "down"}[key["gate"]]
        return f"layers.{key['layer']}.gate.rest.{part}_{key['kind']}", 0
    part = {"0": "up", "2": "down"}[key["map"]]
    name = f"layers.{key['layer']}.mixture{key['which']}.{part}_{key['kind']}"
    return name, int(key["expert"] or 0)


def _unstacked(key: re.Match[str], value: Tensor, gated: bool) -> State:
    """The official members of one of our stacked tensors."""
    start, kind, down = f"blocks.{key['layer']}", key["kind"], key["map"] == "down"
    if key["which"] is None:
        return {f"{start}.gatenet.{4 if down else 2}.{kind}": _turned(value[0])}
    number = 2 if down else 0
    if not gated:
        return {f"{start}.mlp{key['which']}.{number}.{kind}": _turned(value[0])}
    start += f".moe_mlp{key['which']}"
    return {f"{start}.{e}.{number}.{kind}": _turned(one) for e, one in enumerate(value)}


def _turned(value: Tensor) -> Tensor:
    return value.t() if value.ndim == 2 else value


def _member(key: str) -> tuple[str, int] | None:
    """Our tensor of which this official one is a part, and which part it is."""
    for officials, ours in _JOINED:
        for i, official in enumerate(officials):
            if (name := _rename(key, official, ours)) is not None:
                return name, i
    return None


def _split(key: str, value: Tensor) -> State | None:
    for officials, ours in _JOINED:
        names = [_rename(key, ours, official) for official in officials]
        if None not in names:
            parts = value.chunk(len(names))
            return {name: part for name, part in zip(names, parts, strict=True) if name}
    return None


def _renamed(key: str, table: tuple[tuple[str, str], ...], fault: str) -> str:
    for source, target in table:
        if (name := _rename(key, source, target)) is not None:
            return name
    raise ValueError(fault)


def _rename(key: str, source: str, target: str) -> str | None:
    pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)")
    match = re.fullmatch(pattern, key)
    if match is None:
        return None
    found = iter(match.groups())
    return re.sub(r"[#*]", lambda _: next(found), target)
