"""What official EquiformerV2 checkpoints say of themselves: constructor, statistics, references."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["adopt", "complete", "recorded", "settings", "statistics"]

Values = dict[str, Any]
State = dict[str, Tensor]
# ours -> official names, of the first repository and of fairchem-core
_NORMALIZERS = {
    "energy": ("target", "energy"),
    "forces": ("grad_target", "forces"),
    "stress_isotropic": ("stress_isotropic",),
    "stress_anisotropic": ("stress_anisotropic",),
}


def recorded(file: Values) -> Values | None:
    """The constructor arguments in a training checkpoint's configuration; None: it has none.

    fairchem-core 1.x keeps a table of a backbone and heads, older code a flat one, or a name
    beside a table of attributes.
    """
    config = file.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    if isinstance(model, str):
        assert isinstance(config, dict)
        model = config.get("model_attributes")
    if not isinstance(model, dict) or not {"backbone", "lmax_list", "num_layers"} & set(model):
        return None
    return dict(model)


def complete(constructor: Values, state: State) -> Values:
    """One flat table of arguments, with what only the weights tell of the heads.

    Raises:
        ValueError: a backbone or a head that is not read.
    """
    flat = dict(constructor)
    if "backbone" in flat:
        flat = _of_backbone(flat, state)
    stress = state.get("stress_head.xedge_layer_norm.weight")
    if stress is None:
        return flat
    if any(key.startswith("stress_head.block.r2tensor_MLP") for key in state):
        raise ValueError("the stress head has decompose = False: only decompose = True is read")
    width = state["sphere_embedding.weight"].shape[1]
    return flat | {"stress_head": "both" if len(stress) == 2 * width else "target"}


def _of_backbone(constructor: Values, state: State) -> Values:
    backbone = dict(constructor["backbone"])
    kind = str(backbone.pop("model", "equiformer_v2_backbone"))
    if kind.rpartition(".")[2] not in ("equiformer_v2_backbone", "EquiformerV2Backbone"):
        raise ValueError(f"the checkpoint's backbone is {kind}, which is not read")
    for name, head in (constructor.get("heads") or {}).items():
        for option in ("edge_level_mlp", "extensive"):
            if head.get(option):
                raise ValueError(
                    f"the head {name} has {option} = {head[option]}: only False is read"
                )
        if head.get("reduce", "sum") != "sum":
            raise ValueError(f"the head {name} has reduce = {head['reduce']!r}: only sum is read")
    return backbone | {"regress_forces": any(key.startswith("force_block.") for key in state)}


def settings(constructor: Values) -> Values:
    """Of the potential around the network: which neighbours it keeps."""
    return {"tolerant": not constructor.get("enforce_max_neighbors_strictly", True)}


def statistics(file: Values) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation by the names of our normalisers; outputs without any are not normalised.

    Raises:
        ValueError: statistics that are not one number each.
    """
    given = file.get("normalizers")
    if not given:
        return {}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for ours, names in _NORMALIZERS.items():
        held = next((given[name] for name in names if name in given), None)
        held = {"mean": 0.0, "std": 1.0} if held is None else held
        spread = held["std"] if "std" in held else held["rmsd"]
        pair = tuple(torch.as_tensor(each).float() for each in (held["mean"], spread))
        if any(each.numel() != 1 for each in pair):
            raise ValueError(f"the checkpoint's statistics of {ours} are not one number each")
        found[ours] = (pair[0].reshape(()), pair[1].reshape(()))
    return found


def adopt(model: Any, file: Values) -> None:
    """Take over the energies of elements that were subtracted from the data before training."""
    held = (file.get("elementrefs") or {}).get("energy")
    if held is None:
        return
    energies = torch.as_tensor(held["element_references"]).double().flatten()
    # numbers beyond the network's have nothing to refer to
    known = len(model.references.energies)
    model.references.fit(dict(enumerate(energies[:known].tolist())))
