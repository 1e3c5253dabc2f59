"""Parameters in groups for the optimizer: which decay, and at what share of the learning rate.

Layer-wise decay of the learning rate: Clark et al., "ELECTRA", 2020 (arXiv 2003.10555); for vision
transformers Bao et al., "BEiT", 2021 (arXiv 2106.08254).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["SCALE", "decay_groups", "scale_rates", "trained_share"]

SCALE = "lr_scale"  # a group's share of the learning rate that the optimizer is given


def decay_groups(net: nn.Module, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Groups of the trained parameters of a network, for any torch optimizer.

    Weights of one dimension, biases, and what the network names in `undecayed` (positions, say)
    have no weight decay. A parameter of layer i of L has the share layer_decay^(L - i) of the
    learning rate, where L is `net.layers` and i is `net.layer_of(name)`.

    Args:
        net: with `layer_decay` below 1 it must offer these two.
        layer_decay: share of each layer's learning rate that the one below it has.

    Raises:
        ValueError: `layer_decay` lies outside (0, 1], or the network does not number its layers.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay is {layer_decay!r}, but must lie in (0, 1]")
    if layer_decay < 1 and not hasattr(net, "layer_of"):
        raise ValueError(
            f"layer_decay is {layer_decay}, but {type(net).__name__} does not say which layer a "
            "parameter belongs to (layer_of): leave it at 1"
        )
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, weight in net.named_parameters():
        if not weight.requires_grad:
            continue
        scale, decays = _scale(net, name, layer_decay), _decays(net, name, weight)
        group = groups.setdefault((scale, decays), {"params": [], SCALE: scale})
        group["params"].append(weight)
        if not decays:
            group["weight_decay"] = 0.0
    return list(groups.values())


def trained_share(net: nn.Module) -> list[str]:
    """A sentence on how many parameters are trained, where some are frozen; else nothing."""
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in net.parameters())
    if trained == whole:
        return []
    return [f"Trained are {trained:,} of {whole:,} ({trained / whole:.2%})."]


def scale_rates(optimizer: Optimizer) -> None:
    """Give each group its share of the learning rate; before a schedule looks at it."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get(SCALE, 1.0)


def _scale(net: Any, name: str, layer_decay: float) -> float:
    return layer_decay ** (net.layers - net.layer_of(name)) if layer_decay < 1 else 1.0


def _decays(net: Any, name: str, weight: Tensor) -> bool:
    kept = name in getattr(net, "undecayed", ()) or name.endswith("bias")
    return weight.ndim > 1 and not kept
