"""Parameter names and shapes of FactFormer: official state dict <-> ours."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

__all__ = ["to_official", "to_ours"]

State = dict[str, Tensor]
_AXES = "xyz"

# (official, ours): "#" is a number and "@" an axis letter there, its index here
_BLOCK = (
    ("in_norm.", "norm."),
    ("to_v.", "to_value."),
    ("to_in.", "to_axes."),
    ("to_out.1.", "to_out."),
    ("to_out.3.", "mlp_out."),
    ("to_@.to_in.", "axes.@.pool."),
    ("to_@.out_ffn.norm.", "axes.@.norm."),
    ("to_@.out_ffn.fn.net.0.", "axes.@.gate."),
    ("to_@.out_ffn.fn.net.3.", "axes.@.reduce."),
    ("low_rank_kernel_@.to_q.", "axes.@.to_query."),
    ("low_rank_kernel_@.to_k.", "axes.@.to_key."),
    ("low_rank_kernel_@.pos_emb.inv_freq", "axes.@.frequencies"),
)
_LAYER = (
    ("encoder.layers.#.0.0._B", "layers.#.encoding.frequencies"),
    ("encoder.layers.#.0.1.", "layers.#.encoding.project."),
    *((f"encoder.layers.#.1.{a}", f"layers.#.block.{b}") for a, b in _BLOCK),
)
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
    "lift.weight": (lambda t: t.flatten(), lambda t, rank: t.reshape(-1, 1, 1, 1)),
    "lift.mix.weight": (
        lambda t: t.squeeze(-1).transpose(1, 2).flatten(1),
        lambda t, rank: t,  # needs the number of frames: see _official_shape
    ),
}
_POINTWISE = ("head.grouped", "head.hidden.weight", "head.out.weight")


def to_ours(state: State, constructor: dict[str, object]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    kind = _kind_of_official(state)
    return {
        name: _our_shape(name, value, kind)
        for name, value in ((_rename(key, kind, 0), value) for key, value in state.items())
    }


def to_official(state: State, constructor: dict[str, object]) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    kind = _kind_of_ours(state)
    rank = 3 if kind == "3d" else 2
    return {
        _rename(name, kind, 1): _official_shape(name, value, kind, rank, constructor)
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


def _rename(key: str, kind: str, source: int) -> str:
    for pair in _TABLES[kind]:
        pattern, target = pair[source], pair[1 - source]
        found = re.match(_regex(pattern, official=source == 0), key)
        if found:
            groups = found.groupdict()
            axis = groups.get("axis")
            if axis is not None:
                index = _AXES.index(axis) if source == 0 else int(axis)
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
    letter = _AXES[index]
    return f"{letter}.{min(index, 1)}" if "to_@" in target else letter


def _our_shape(name: str, value: Tensor, kind: str) -> Tensor:
    if name in _SHAPES and (kind == "3d" or name.startswith("marching.")):
        return _SHAPES[name][0](value)
    return value.squeeze(-1) if name.endswith(_POINTWISE) else value


def _official_shape(
    name: str, value: Tensor, kind: str, rank: int, constructor: dict[str, object]
) -> Tensor:
    if name == "lift.mix.weight":
        frames = constructor["in_time_window"]
        return value.unflatten(1, (frames, -1)).transpose(1, 2).unsqueeze(-1)  # type: ignore[arg-type]
    if name in _SHAPES and (kind == "3d" or name.startswith("marching.")):
        return _SHAPES[name][1](value, rank)
    return value.unsqueeze(-1) if name.endswith(_POINTWISE) else value
