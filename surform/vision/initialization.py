"""Pose networks that begin with weights they were not made for, and what came of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surform.hub.convert import from_official
from surform.hub.loading import load_model
from surform.hub.official.checkpoint import read_checkpoint
from surform.hub.official.vitpose_start import mae_to_ours
from surform.hub.partial import Transfer, transfer
from surform.layers.adapted import Adapted
from surform.layers.position_grid import resize_positions
from surform.vision.pretraining import fit_backbone
from surform.vision.vitpose import ViTPose
from surform.vision.vitpose_plus import ViTPosePlus

__all__ = ["initialize"]

PoseNet = ViTPose | ViTPosePlus
_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def initialize(
    net: PoseNet | Adapted, source: str | Path | nn.Module, *, dataset: int = 0
) -> Transfer:
    """Give `net` all weights of another network that fit, and say which did not.

    Positions are interpolated for another size of crops. The last layer of a head keeps its own
    values where it has another number of joints. A plain network's feed-forward maps become those
    of every expert; of a ViTPose+ source a plain network gets one data set's expert and head. A
    network with adapters takes the weights of one without, or of one with like adapters.

    Args:
        source: a pose network; whatever `load_model` takes (a folder, a name, hf://...); an
            official pose checkpoint; or the checkpoint of a masked autoencoder or another plain
            vision transformer under timm's names, which has no heads.
        dataset: number of the data set, where a plain network begins with a ViTPose+.

    Raises:
        FileNotFoundError: no such source.
        ValueError: it is no such network, or nothing of it fits.
    """
    where = type(source).__name__ if isinstance(source, nn.Module) else str(source)
    given = _opened(source)
    if not isinstance(net, Adapted):
        state, changed = _fitted(net, given, where, dataset)
        return transfer(state, net, where, changed)
    inner: Any = net.net
    if not isinstance(inner, ViTPose | ViTPosePlus):
        raise ValueError(f"the adapters are on a {type(inner).__name__}, but must be on a ViTPose")
    adapters: dict[str, Tensor] = {}
    if isinstance(given, Adapted):
        adapters = {n: v for n, v in given.state_dict().items() if n.startswith("adapters.")}
        given = given.net
    state, changed = _fitted(inner, given, where, dataset)
    told = {f"net.{name}": how for name, how in changed.items()}
    return transfer({f"net.{n}": v for n, v in state.items()} | adapters, net, where, told)


def _opened(source: str | Path | nn.Module) -> nn.Module | dict[str, Tensor]:
    """A network, or the tensors of a backbone alone."""
    if isinstance(source, nn.Module):
        return source
    path = Path(source)
    if path.suffix not in _FILES or path.is_dir():
        return load_model(source).net
    state = read_checkpoint(path)
    if any(key.startswith("backbone.") for key in state):
        return from_official(path, "vitpose").model.net
    return state


def _fitted(
    net: PoseNet, source: nn.Module | dict[str, Tensor], where: str, dataset: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors under the names of `net`, and name -> how they were made to fit."""
    if isinstance(source, nn.Module):
        return _from_net(net, source, where, dataset)
    return _from_encoder(net, source)


def _from_encoder(
    net: PoseNet, state: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights of a backbone alone, on a square grid."""
    ours = mae_to_ours(state)
    fitted, changed = fit_backbone(ours, net.backbone), {}
    for name, value in fitted.items():
        if name not in ours:
            changed[f"backbone.{name}"] = "each expert has the last rows of the feed-forward map"
        elif value.shape != ours[name].shape:
            before, after = tuple(ours[name].shape), tuple(value.shape)
            changed[f"backbone.{name}"] = f"{before} fitted to {after}"
    return {f"backbone.{n}": v for n, v in fitted.items()}, changed


def _from_net(
    net: PoseNet, source: nn.Module, where: str, dataset: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not isinstance(source, ViTPose | ViTPosePlus):
        raise ValueError(f"{where} is a {type(source).__name__}, but must be a ViTPose")
    if isinstance(source, ViTPosePlus) and isinstance(net, ViTPose):
        source = source.merged(dataset)
    state, changed = dict(source.state_dict()), {}
    grids: Any = (source.backbone.grid, net.backbone.grid)
    if grids[0] != grids[1]:
        name = "backbone.positions"
        state[name] = resize_positions(state[name], *grids)
        changed[name] = "{} x {} resized to {} x {}".format(*grids[0], *grids[1])
    if isinstance(net, ViTPosePlus) and isinstance(source, ViTPose):
        state, more = _for_experts(state, net)
        changed |= more
    return state, changed


def _for_experts(
    state: dict[str, Tensor], net: ViTPosePlus
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A plain network's weights for every expert, its head for every data set."""
    start = "backbone."
    inner = {n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}
    grid = inner.pop("positions")
    found = {f"{start}{n}": v for n, v in fit_backbone(inner, net.backbone).items()}
    found[f"{start}positions"] = grid
    for name, value in state.items():
        if name.startswith("head."):
            rest = name.removeprefix("head.")
            found |= {f"heads.{number}.{rest}": value for number in range(len(net.heads))}
    changed = {n: "from the plain network's map" for n in found if ".experts." in n}
    return found, changed
