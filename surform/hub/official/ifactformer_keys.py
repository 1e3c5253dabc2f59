"""Parameter names and shapes of IFactFormer: official state dict <-> ours.

The two official releases number the output maps of the block differently: 1 and 3 in the first one,
2 and 4 later, where a rearrangement precedes the norm.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from surform.hub.official.factformer_keys import (
    AXES,
    layer_pairs,
    official_lift,
    our_lift,
    rename,
)

__all__ = ["release_of", "to_official", "to_ours"]

State = dict[str, Tensor]

_OUT = {
    "first": (
        ("to_out.1.", "to_out."),
        ("to_out.3.", "mlp_out."),
        ("to_out_1.0.", "second_mlp.0."),
        ("to_out_1.2.", "second_mlp.1."),
    ),
    "head": (("to_out.2.", "to_out."), ("to_out.4.", "mlp_out.")),
}
_WHOLE = (
    ("to_in.2.", "lift.mix."),
    ("to_in.0.", "lift."),
    ("simple_to_out.1.", "hidden."),
    ("simple_to_out.3.", "out."),
)
_TABLES = {release: (*layer_pairs((*AXES, *out)), *_WHOLE) for release, out in _OUT.items()}
_POINTWISE = ("hidden.weight", "out.weight")


def release_of(state: State) -> str | None:
    """The release that an official state dict is of; None where it is of neither."""
    for release, out in _OUT.items():
        if f"encoder.layers.0.1.{out[0][0]}weight" in state:
            return release
    return None


def to_ours(state: State, constructor: dict[str, object]) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    pairs = _TABLES[release_of(state) or "head"]
    named = {rename(key, pairs, 0): value for key, value in state.items()}
    return {
        name: value.squeeze(-1) if name in _POINTWISE else our_lift(name, value)
        for name, value in named.items()
    }


def to_official(state: State, constructor: dict[str, object]) -> State:
    """Our state dict (or gradients under our names) -> that of `constructor["release"]`."""
    pairs = _TABLES[cast(str, constructor.get("release", "head"))]
    frames = cast(int, constructor["in_time_window"])
    return {
        rename(name, pairs, 1): value.unsqueeze(-1)
        if name in _POINTWISE
        else official_lift(name, value, frames)
        for name, value in state.items()
    }
