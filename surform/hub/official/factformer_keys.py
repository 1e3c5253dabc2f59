"""Parameter names and shapes of FactFormer: official state dict <-> ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from torch import Tensor

__all__ = ["AXES", "Pairs", "layer_pairs", "official_lift", "our_lift", "rename", "to_official"]
__all__ += ["to_ours"]

State = dict[str, Tensor]
Pairs = tuple[tuple[str, str], ...]
_LETTERS = "xyz"

# (official, ours): "#" is a number and "@" an axis letter there, its index here
AXES: Pairs = (
    ("in_norm.", "norm."),
    ("to_v.", "to_value."),
    ("to_in.", "to_axes."),
    ("to_@.to_in.", "axes.@.pool."),
    ("to_@.out_ffn.norm.", "axes.@.norm."),
    ("to_@.out_ffn.fn.net.0.", "axes.@.gate."),
    ("to_@.out_ffn.fn.net.3.", "axes.@.reduce."),
    ("low_rank_kernel_@.to_q.", "axes.@.to_query."),
    ("low_rank_kernel_@.to_k.", "axes.@.to_key."),
    ("low_rank_kernel_@.pos_emb.inv_freq", "axes.@.frequencies"),
)
_BLOCK = (*AXES, ("to_out.1.", "to_out."), ("to_out.3.", "mlp_out."))


def layer_pairs(block: Pairs) -> Pairs:
    """Names of the encoder's layers, from those of a block."""
    return (
        ("encoder.layers.#.0.0._B", "layers.#.encoding.frequencies"),
        ("encoder.layers.#.0.1.", "layers.#.encoding.project."),
        *((f"encoder.layers.#.1.{a}", f"layers.#.block.{b}") for a, b in block),
    )


_LAYER = layer_pairs(_BLOCK)
_SKIP = (
    ("down_block.1.", "skip.down.0."),
    ("down_block.3.", "skip.down.1."),
    ("up_block.1.", "skip.up.0."),
    ("up_block.3.", "skip.up.1."),
)
_STEADY = (
    ("to_in.", "lift."),
    *_SKIP,
    ("simple_to_out.1.", "head.norm."),
    ("simple_to_out.2.weight", "head.grouped"),
    ("simple_to_out.4.", "head.out."),
)
_MARCHING = (
    ("expand_latent.", "expand."),
    ("latent_time_emb", "marching.step_embedding"),
    ("propagator.norm.", "marching.norm."),
    ("propagator.fn.net.0.", "marching.up."),
    ("propagator.fn.net.3.", "marching.down."),
    ("simple_to_out.1.", "marching.head.norm."),
    ("simple_to_out.2.weight", "marching.head.grouped"),
    ("simple_to_out.4.", "marching.head.hidden."),
    ("simple_to_out.6.", "marching.head.out."),
)
_WINDOW_3D = (("to_in.2.", "lift.mix."), ("to_in.0.", "lift."), *_SKIP)
_TABLES = {
    "block": tuple((f"fa.{a}", b) for a, b in _BLOCK),
    "steady": (*_LAYER, *_STEADY),
    "2d": (*_LAYER, ("to_in.", "lift."), *_MARCHING),
    "3d": (*_LAYER, *_WINDOW_3D, *_MARCHING),
}
# our key -> (official tensor -> ours, ours and the rank of the grid -> official)
_SHAPES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, int], Tensor]]] = {
    "marching.step_embedding": (
        lambda t: t.reshape(t.shape[1], -1),
        lambda t, rank: t.reshape(1, len(t), *[1] * rank, -1),
    ),
}
_POINTWISE = ("head.grouped", "head.hidden.weight", "head.out.weight")


def to_ours(state: State, constructor: dict[str, object]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    kind = _kind_of_official(state)
    pairs = _TABLES[kind]
    return {
        name: _our_shape(name, value, kind)
        for name, value in ((rename(key, pairs, 0), value) for key, value in state.items())
    }


def to_official(state: State, constructor: dict[str, object]) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    kind = _kind_of_ours(state)
    rank = 3 if kind == "3d" else 2
    return {
        rename(name, _TABLES[kind], 1): _official_shape(name, value, kind, rank, constructor)
        for name, value in state.items()
    }


def _kind_of_official(state: State) -> str:
    if any(key.startswith("fa.") for key in state):
        return "block"
    if any(key.startswith("to_in.0.") for key in state):
        return "3d"
    return "2d" if "latent_time_emb" in state else "steady"


def _kind_of_ours(state: State) -> str:
    if any(key.startswith("axes.") for key in state):
        return "block"
    if any(key.startswith("lift.mix.") for key in state):
        return "3d"
    return "2d" if any(key.startswith("marching.") for key in state) else "steady"


def our_lift(name: str, value: Tensor) -> Tensor:
    """An official tensor of the convolutions that lift a window -> ours."""
    if name == "lift.weight":
        return value.flatten()
    return value.squeeze(-1).transpose(1, 2).flatten(1) if name == "lift.mix.weight" else value


def official_lift(name: str, value: Tensor, frames: int) -> Tensor:
    """The inverse of `our_lift` for a window of so many frames."""
    if name == "lift.weight":
        return value.reshape(-1, 1, 1, 1)
    if name == "lift.mix.weight":
        return value.unflatten(1, (frames, -1)).transpose(1, 2).unsqueeze(-1)
    return value


def rename(key: str, pairs: Pairs, source: int) -> str:
    """A key by (official, ours) pairs; source: 0 for an official key, 1 for one of ours.

    A key that no pair knows keeps its name.
    """
    for pair in pairs:
        pattern, target = pair[source], pair[1 - source]
        found = re.match(_regex(pattern, official=source == 0), key)
        if found:
            groups = found.groupdict()
            axis = groups.get("axis")
            if axis is not None:
                index = _LETTERS.index(axis) if source == 0 else int(axis)
                target = target.replace(
                    "@", str(index) if source == 0 else _official_axis(index, target)
                )
            return target.replace("#", groups.get("layer") or "") + key[found.end() :]
    return key


def _regex(pattern: str, official: bool) -> str:
    text = re.escape(pattern).replace(r"\#", r"(?P<layer>\d+)")
    if not official:
        return text.replace("@", r"(?P<axis>\d+)")
    # behind `to_x` an index follows, 1 where a parameter-free rearrangement sits at 0
    return text.replace("to_@", r"to_(?P<axis>[xyz])\.\d").replace("@", "(?P<axis>[xyz])")


def _official_axis(index: int, target: str) -> str:
    letter = _LETTERS[index]
    return f"{letter}.{min(index, 1)}" if "to_@" in target else letter


def _our_shape(name: str, value: Tensor, kind: str) -> Tensor:
    if name in _SHAPES:
        return _SHAPES[name][0](value)
    if kind == "3d" and name.startswith("lift."):
        return our_lift(name, value)
    return value.squeeze(-1) if name.endswith(_POINTWISE) else value


def _official_shape(
    name: str, value: Tensor, kind: str, rank: int, constructor: dict[str, object]
) -> Tensor:
    if name in _SHAPES:
        return _SHAPES[name][1](value, rank)
    if kind == "3d" and name.startswith("lift."):
        return official_lift(name, value, cast(int, constructor["in_time_window"]))
    return value.unsqueeze(-1) if name.endswith(_POINTWISE) else value
