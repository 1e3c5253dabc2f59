"""Keys of official EquiformerV2 models <-> ours; both official layouts.

The first repository names a network's parts directly; fairchem-core 1.x has a backbone and output
heads. Most of an official state dict, repeated in every block, is derived constants.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from torch import Tensor

__all__ = ["DROPPED", "first_layout", "to_official", "to_ours", "weights"]

State = dict[str, Tensor]
_DERIVED = "a constant that follows from the network's sizes"
DROPPED = {
    "*expand_index": _DERIVED,
    "*balance_degree_weight": _DERIVED,
    "*distance_expansion.offset": _DERIVED,
    "*SO3_rotation*": _DERIVED,
    "*SO3_grid*": _DERIVED,
    "*mappingReduced*": _DERIVED,
    "stress_head.*": "the virial of the forces that are asked for takes the place of a stress head",
    "force_block.*": "forces are asked for as the gradient of the energy, or not at all",
    "energy_lin_ref": "the network was not asked to add the references of the elements",
    "output_heads.*": "heads other than those of energy, forces and stress are not read",
}
_ATTENTION = (
    ("alpha_dot", "scores.dot"),
    ("alpha_norm.*", "scores.norm.*"),
    ("source_embedding.*", "radial.elements.source.*"),
    ("target_embedding.*", "radial.elements.target.*"),
    *(
        (f"{net}.{official}.*", f"radial.{ours}.*")
        for net in ("so2_conv_1.rad_func.net", "rad_func.net")
        for official, ours in (
            (0, "first"),
            (1, "norm1"),
            (3, "second"),
            (4, "norm2"),
            (6, "third"),
        )
    ),
    ("so2_conv_#.fc_m0.*", "convolution#.zero.*"),
    ("so2_conv_#.so2_m_conv.#.fc.*", "convolution#.orders.#.*"),
    ("proj.*", "proj.*"),
)
_FEED_FORWARD = (
    ("so3_linear_#.*", "linear#.*"),
    ("scalar_mlp.0.*", "scalar.*"),
    ("gating_linear.*", "scalar.*"),
    ("grid_mlp.#.weight", "grid_mlp.#.weight"),
)
_NORM = (
    ("affine_weight", "weight"),
    ("affine_bias", "bias"),
    ("norm_l0.*", "scalar.*"),
)
_STRESS_HEAD = r"^output_heads\.[^.]+\.(sphharm_norm|xedge_layer_norm|block)\."
_STRESS = (
    *((f"sphharm_norm.{official}", f"projection.{ours}") for official, ours in _NORM),
    ("xedge_layer_norm.*", "norm.*"),
    ("block.scalar_MLP.#.*", "isotropic.#.*"),
    ("block.irrep2_MLP.#.*", "anisotropic.#.*"),
)
_PARTS = (
    ("blocks.#.norm_1", "blocks.#.norm1", _NORM),
    ("blocks.#.norm_2", "blocks.#.norm2", _NORM),
    ("blocks.#.ga", "blocks.#.attention", _ATTENTION),
    ("blocks.#.ffn", "blocks.#.feed_forward", _FEED_FORWARD),
    ("norm", "norm", _NORM),
    ("energy_block", "energy_head", _FEED_FORWARD),
    ("force_block", "force_head", _ATTENTION),
    ("stress_head", "stress_head", _STRESS),  # the first repository has none
    ("edge_degree_embedding", "edge_degree", _ATTENTION),
)
# official <-> ours; # stands for a number, * for the rest of the key
_NAMES = (
    ("sphere_embedding.*", "atoms.*"),
    ("source_embedding.*", "pair.source.*"),
    ("target_embedding.*", "pair.target.*"),
    ("energy_lin_ref", "references"),
    *((f"{o}.{a}", f"{p}.{b}") for o, p, names in _PARTS for a, b in names),
)


def to_ours(state: State, constructor: dict[str, Any]) -> State:
    """Official state dict (first layout) -> ours; ValueError for a key that no part stands for."""
    ours: State = {}
    for key, value in state.items():
        if _is_constant(key):
            continue
        name = _renamed(key, _NAMES)
        if name is None:
            raise ValueError(f"unknown official key {key!r}")
        ours[_halved(name)] = value
    return ours


def to_official(state: State, constructor: dict[str, Any]) -> State:
    """Our state dict, or gradients under our names, -> official keys (first layout)."""
    shared = bool(constructor.get("use_m_share_rad"))
    on_the_grid = bool(constructor.get("use_grid_mlp"))
    back = [(ours, official) for official, ours in _NAMES if _is_of(official, shared, on_the_grid)]
    official: State = {}
    for key, value in state.items():
        name = _renamed(_doubled(key), tuple(back))
        if name is None:
            raise ValueError(f"{key} has no counterpart in the official EquiformerV2")
        official[name] = value
    return official


def _is_of(official: str, shared: bool, on_the_grid: bool) -> bool:
    """Whether a network of these options has such keys: two official names may be one of ours."""
    if ".rad_func." in official and not official.startswith("edge_degree"):
        return shared != (".so2_conv_1.rad_func." in official)
    if official.startswith("edge_degree_embedding.so2_conv_1"):
        return False
    if ".scalar_mlp." in official:
        return on_the_grid
    return not (".gating_linear." in official and on_the_grid)


def _halved(name: str) -> str:
    """The maps on the grid stand at 0, 2, 4 of the official list, with activations between."""
    return re.sub(r"(grid_mlp\.)(\d+)", lambda m: f"{m[1]}{int(m[2]) // 2}", name)


def _doubled(name: str) -> str:
    return re.sub(r"(grid_mlp\.)(\d+)", lambda m: f"{m[1]}{2 * int(m[2])}", name)


def _renamed(key: str, table: tuple[tuple[str, str], ...]) -> str | None:
    for source, target in table:
        pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)")
        match = re.fullmatch(pattern, key)
        if match is not None:
            found = iter(match.groups())
            return re.sub(r"[#*]", lambda _, found=found: next(found), target)
    return None


def first_layout(state: State) -> State:
    """Any official state dict -> keys of the first repository.

    Raises:
        ValueError: two parts have one name.
    """
    found: State = {}
    for key, value in state.items():
        name = key
        while name.startswith("module."):
            name = name.removeprefix("module.")
        name = name.removeprefix("backbone.")
        name = re.sub(r"^output_heads\.[^.]+\.(energy_block|force_block)\.", r"\1.", name)
        name = re.sub(_STRESS_HEAD, r"stress_head.\1.", name)
        if name in found:
            raise ValueError(f"{key} and another key are both {name} in the first layout")
        found[name] = value
    return found


def weights(file: dict[str, Any]) -> dict[str, Any]:
    """An official checkpoint with the averaged weights, where it holds any, as its state dict.

    Raises:
        ValueError: their number or a shape is not that of the network's parameters.
    """
    average = file.get("ema")
    shadow = average.get("shadow_params") if isinstance(average, dict) else None
    state = file.get("state_dict")
    if not shadow or not isinstance(state, dict):
        return file
    names = [k for k in state if not _is_constant(k) and not k.endswith("energy_lin_ref")]
    if len(names) != len(shadow):
        raise ValueError(
            f"the checkpoint averages {len(shadow)} parameters, but its state dict holds "
            f"{len(names)}"
        )
    for name, value in zip(names, shadow, strict=True):
        if value.shape != state[name].shape:
            raise ValueError(
                f"the averaged weights do not follow the order of the state dict: {name} has shape "
                f"{tuple(state[name].shape)}, its average {tuple(value.shape)}"
            )
    return file | {"state_dict": state | dict(zip(names, shadow, strict=True))}


def _is_constant(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, p) for p, why in DROPPED.items() if why == _DERIVED)
