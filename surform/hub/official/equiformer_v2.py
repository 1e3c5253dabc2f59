"""EquiformerV2: atomicarchitects/equiformer_v2@cf45ee209abd, fairchem-core 1.10.

Constructors are those of the first repository; what fairchem-core 1.x adds (`avg_num_nodes`,
`avg_degree`) is known, too. The option `forces` ("direct" unless the constructor regresses none)
makes a network whose forces are the gradient of its energy, `envelope` takes edges out smoothly.
A backbone with heads of fairchem-core 1.x is described by the same arguments, and `stress_head`.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.equiformer_v2_config import (
    adopt,
    complete,
    recorded,
    settings,
    statistics,
)
from surform.hub.official.equiformer_v2_keys import (
    DROPPED,
    first_layout,
    to_official,
    to_ours,
    weights,
)
from surform.hub.official.equiformer_v2_parts import components
from surform.hub.official.fixture import Fixture, Replay, System
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]
# official name -> (ours, official default)
_SAME = {
    "sphere_channels": ("dim", 128),
    "num_layers": ("depth", 12),
    "num_heads": ("heads", 8),
    "attn_hidden_channels": ("hidden", 128),
    "attn_alpha_channels": ("alphas", 32),
    "attn_value_channels": ("values", 16),
    "ffn_hidden_channels": ("feed_forward", 512),
    "edge_channels": ("edge_channels", 128),
    "norm_type": ("norm", "rms_norm_sh"),
    "grid_resolution": ("grid_resolution", None),
    "use_atom_edge_embedding": ("atom_edge_embedding", True),
    "share_atom_edge_embedding": ("share_atom_edge_embedding", False),
    "use_m_share_rad": ("share_radial", False),
    "use_attn_renorm": ("renorm", True),
    "use_grid_mlp": ("grid_mlp", False),
    "max_num_elements": ("elements", 90),
    "max_radius": ("cutoff", 5.0),
    "max_neighbors": ("max_neighbors", 500),
    "alpha_drop": ("attention_dropout", 0.1),
    "drop_path_rate": ("drop_path", 0.05),
    "proj_drop": ("dropout", 0.0),
    "weight_init": ("weight_init", "normal"),
    "avg_num_nodes": ("average_atoms", 77.81317),
    "avg_degree": ("average_degree", 23.395238876342773),
    "activation_checkpoint": ("recompute", False),
    "use_energy_lin_ref": ("energy_references", False),
}
# taken and of no effect in the official code, or about how graphs are made
_NO_MATTER = {
    "num_atoms", "bond_feat_dim", "num_targets", "use_pbc", "use_pbc_single", "otf_graph",
    "num_distance_basis", "attn_activation", "ffn_activation", "num_sphere_samples",
    "load_energy_lin_ref", "enforce_max_neighbors_strictly", "name", "model", "regress_forces",
    "lmax_list", "mmax_list", "use_gate_act", "use_sep_s2_act", "use_s2_act_attn",
    "distance_function", "stress_head",
}  # fmt: skip


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    options = options or {}
    unknown = sorted(set(constructor) - set(_SAME) - _NO_MATTER)
    if unknown:
        raise ValueError(f"EquiformerV2 takes no {unknown[0]}")
    if constructor.get("use_s2_act_attn"):
        raise ValueError("use_s2_act_attn = True is not supported: the official code refuses it")
    if constructor.get("distance_function", "gaussian") != "gaussian":
        raise ValueError(
            f"distance_function {constructor['distance_function']!r} is not supported: choose "
            "gaussian"
        )
    ours = {our: constructor.get(name, default) for name, (our, default) in _SAME.items()}
    for name, default in (("lmax_list", [6]), ("mmax_list", [2])):
        found = constructor.get(name, default)
        if len(found) != 1:
            raise ValueError(f"{name} holds {len(found)} resolutions, but one is supported")
        ours[name[:4]] = found[0]
    on_the_sphere = "separable_s2" if constructor.get("use_sep_s2_act", True) else "s2"
    ours["activation"] = "gate" if constructor.get("use_gate_act") else on_the_sphere
    ours["feed_forward_activation"] = on_the_sphere if ours["grid_mlp"] else ours["activation"]
    forces = "direct" if constructor.get("regress_forces", True) else "none"
    ours |= {"forces": options.get("forces", forces), "envelope": options.get("envelope")}
    if ours["forces"] != "conservative":
        ours["stress"] = constructor.get("stress_head", "none")
    return "equiformer_v2", ours


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor of one of our networks."""
    given: Arguments = net.__dict__.get("arguments", {})
    if not {"lmax", "average_degree", "grid_mlp"} <= set(given):
        return None
    ours_only = {
        f"forces = {given['forces']!r}": given["forces"] == "conservative",
        f"envelope = {given['envelope']}": given["envelope"] is not None,
        "max_neighbors = None": given["max_neighbors"] is None,
        f"basis = {given['basis']}": given["basis"] != 600,
        f"stress = {given['stress']!r}": given["stress"] != "none",
    }
    found = [name for name, is_so in ours_only.items() if is_so]
    if found:
        raise ValueError(
            f"the first official repository has no counterpart of {' and '.join(found)}"
        )
    inner = given["feed_forward_activation"] or given["activation"]
    gate = given["activation"] == "gate"
    if not given["grid_mlp"] and inner != given["activation"]:
        raise ValueError("the official code has one activation for attention and feed-forward maps")
    if given["grid_mlp"] and not gate and inner != given["activation"]:
        raise ValueError("the official code has one activation on the sphere")
    made = {official: given[ours] for official, (ours, _) in _SAME.items()}
    return made | {
        "lmax_list": [given["lmax"]],
        "mmax_list": [given["mmax"]],
        "use_gate_act": gate,
        "use_sep_s2_act": inner != "s2",
        "regress_forces": given["forces"] == "direct",
        "num_distance_basis": 600,
    }


def _infer(state: State) -> Arguments:
    """What shapes tell; what they do not is named in the error."""
    layers = 1 + max(int(m[1]) for k in state if (m := re.match(r"blocks\.(\d+)\.", k)))
    degrees = len(state["blocks.0.ga.proj.weight"])
    orders = sum(bool(re.fullmatch(r"blocks\.0\.ga\.so2_conv_1\.so2_m_conv\.\d+\.fc\.weight", k))
                 for k in state)  # fmt: skip
    heads, alphas = state["blocks.0.ga.alpha_dot"].shape
    found = {
        "num_layers": layers,
        "lmax_list": [degrees - 1],
        "mmax_list": [orders],
        "sphere_channels": state["sphere_embedding.weight"].shape[1],
        "num_heads": heads,
        "attn_alpha_channels": alphas,
    }
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"the weights tell {read}, but not max_radius, max_neighbors and grid_resolution: give the "
        "official constructor arguments"
    )


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Energies and forces over the recorded edges, in the recorded frames."""
    model = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    source, target = inputs["edge_index"].unbind()
    shifts = None
    if "cell" in inputs and "cell_offsets" in inputs:
        cell = inputs["cell"].detach()[inputs["batch"][target]]
        shifts = (inputs["cell_offsets"].to(dtype)[:, None] @ cell)[:, 0]
    mid = _watch(model)
    given = inputs.get("edge_rot_mat")
    frames = None if given is None else given.detach()
    out = model(
        inputs["pos"],
        inputs["atomic_numbers"],
        inputs["edge_index"],
        shifts,
        batch=inputs["batch"],
        structures=len(inputs["natoms"]),
        edge_rot_mat=frames,
    )
    vectors = inputs["pos"][source] - inputs["pos"][target]
    vectors = (vectors if shifts is None else vectors + shifts).detach()
    mid["edge_distance_vec"], mid["edge_distance"] = vectors, vectors.norm(dim=1)
    if "block0_scores" in mid:
        weights = import_object("surform.attention:edge_weights")
        mid["block0_alpha"] = weights(mid.pop("block0_scores"), target, len(inputs["pos"]))
    if frames is not None:
        angles = import_object("surform.atomistic.wigner:frame_angles")(frames)
        wigner: Any = model.get_submodule("wigner")
        mid["wigner"] = wigner.whole(*angles)
    outputs = {"energy": out.energy}
    if out.forces is not None:
        outputs["forces"] = out.forces
    if out.stress is not None:
        outputs["stress"] = out.stress
    return Replay(outputs, inputs, model, mid=mid)


def _watch(model: nn.Module) -> State:
    """Fill the returned dict with the fixture's intermediate tensors while the model runs."""
    mid: State = {}

    def keep(name: str, where: str) -> None:
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _, __, out: mid.__setitem__(where, out.detach()))

    keep("edge_degree", "edge_degree")
    keep("blocks.0", "block0_out")
    keep("blocks.0.attention", "block0_attn_out")
    keep("blocks.0.attention.scores", "block0_scores")
    keep("norm", "final_norm")
    head: Any = model.get_submodule("energy_head")
    _keep_invariant(head, mid)
    return mid


def _keep_invariant(head: Any, mid: State) -> None:
    """The energy head is asked for its invariant part alone, which no hook sees."""
    invariant = head.invariant

    def watched(x: Tensor) -> Tensor:
        found = invariant(x)
        mid["node_energy"] = found[:, 0].detach()
        return found

    head.invariant = watched


SYSTEM = System(
    name="equiformer_v2",
    kinds={"model": _model, "components": components},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=DROPPED,
    infer=_infer,
    surrogate="atoms",
    describe=_describe,
    translate=first_layout,
    unpack=weights,
    statistics=statistics,
    recorded=recorded,
    complete=complete,
    settings=settings,
    adopt=adopt,
    noise=("attention_dropout", "drop_path", "dropout"),
)
