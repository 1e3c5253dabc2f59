"""Potentials that begin with the weights of another one, and what came of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surform.atomistic.potential import Potential
from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.official.checkpoint import open_checkpoint
from surform.hub.partial import Transfer, transfer
from surform.registry import create_model, find
from surform.training.checkpoint import load_surrogate

__all__ = ["begin_with"]

_OFFICIAL = (".pth", ".pt", ".bin", ".safetensors")
# arguments that give the same weights another meaning
_MEANING = ("cutoff", "max_neighbors", "average_degree", "grid_resolution", "envelope")


def begin_with(model: Potential, source: str | Path | Potential) -> Transfer:
    """Give a potential all weights of another one that fit, and say which did not.

    Tables of elements keep their own rows for elements that the source has none for. The last maps
    are scaled so that energies and forces begin as large as the source gives them, in the units of
    the data. References and statistics stay those of `model`, but for a head for stresses, which
    keeps the source's.

    Args:
        source: a potential; whatever `load_model` takes (a folder, a name, hf://...); a run folder
            or its .ckpt; or an official checkpoint of a network of the same sizes.

    Raises:
        FileNotFoundError: no such source.
        ValueError: it is no potential, or nothing of it fits.
    """
    other, where = _opened(model.net, source)
    if not isinstance(other, Potential):
        raise ValueError(f"{where} is a {type(other).__name__}, but must be a potential of atoms")
    state = {n: v for n, v in other.net.state_dict().items() if n != "references"}
    changed: dict[str, str] = {}
    own = model.net.state_dict()
    for name, value in state.items():
        if (
            name in own
            and _is_table(other.net, name, value)
            and value.shape[1:] == own[name].shape[1:]
        ):
            state[name], said = _fitted_rows(value, own[name])
            changed |= {name: said} if said else {}
    for name, factor in _scales(model, other).items():
        if name in state and factor != 1:
            state[name] = state[name] * factor
            changed[name] = f"scaled by {factor:.4g} to the statistics of the new data"
    for name, (before, after) in _other_meaning(model.net, other.net).items():
        changed[f"(net.{name})"] = (
            f"{before} in the source, {after} here: its weights know the first"
        )
    for name in ("stress_isotropic", "stress_anisotropic"):
        own_part, part = getattr(model, name), getattr(other, name)
        if own_part is not None and part is not None:  # maps that no factor scales
            own_part.fit(part.mean, part.std)
    done = transfer(state, model.net, where)
    noted = {n: how for n, how in changed.items() if n in done.kept or n.startswith("(")}
    fresh = {n: why for n, why in done.fresh.items() if n != "references"}
    return Transfer(done.kept, noted, fresh, done.unused)


def _opened(net: nn.Module, source: str | Path | Potential) -> tuple[Any, str]:
    if isinstance(source, nn.Module):
        return source, type(source).__name__
    path, where = Path(source), str(source)
    if path.is_file() and path.suffix == ".ckpt":
        return load_surrogate(path), where
    if path.is_file() and path.suffix in _OFFICIAL:
        return _official(net, path), where
    return load_model(path), where


def _official(net: nn.Module, path: Path) -> Any:
    """Where a checkpoint does not tell its constructor's arguments, the network's are taken."""
    system = find("official", "equiformer_v2")
    given = dict(net.__dict__["arguments"])
    state, file = open_checkpoint(path, system.unpack)
    if system.recorded is not None and system.recorded(file) is not None:
        return from_official(path, "equiformer_v2").model
    state = state if system.translate is None else system.translate(state)
    table = state.get("sphere_embedding.weight")
    elements = given["elements"] if table is None else len(table)
    given |= {"elements": elements, "envelope": None, "forces": "direct"}
    given["max_neighbors"] = given["max_neighbors"] or 20  # of graphs, not of weights
    with torch.device("meta"):
        like = create_model("equiformer_v2", **given)
    return from_official(path, "equiformer_v2", system.describe(like)).model


def _is_table(net: nn.Module, name: str, value: Tensor) -> bool:
    """Whether a tensor has a row for each element."""
    return isinstance(net.get_submodule(name.rpartition(".")[0]), nn.Embedding) and value.ndim == 2


def _fitted_rows(value: Tensor, own: Tensor) -> tuple[Tensor, str]:
    if len(value) == len(own):
        return value, ""
    shared = min(len(value), len(own))
    rows = own.clone()
    rows[:shared] = value[:shared].to(own)
    return rows, f"elements 0 to {shared - 1} are those of the source"


def _scales(model: Potential, other: Potential) -> dict[str, float]:
    """By what the last maps' results are multiplied, so that they are the same in units of data."""
    ratio = {n: float(getattr(other, n).std / getattr(model, n).std) for n in ("energy", "forces")}
    own, theirs = (getattr(m.net, "average_atoms", 1.0) for m in (model, other))
    ratio["energy"] *= own / theirs
    last = {"energy": "energy_head.linear2", "forces": "force_head.proj"}
    return {f"{last[n]}.{part}": ratio[n] for n in last for part in ("weight", "bias")}


def _other_meaning(net: nn.Module, other: nn.Module) -> dict[str, tuple[Any, Any]]:
    own, theirs = (n.__dict__.get("arguments", {}) for n in (net, other))
    both = [n for n in _MEANING if n in own and n in theirs]
    return {n: (theirs[n], own[n]) for n in both if theirs[n] != own[n]}
