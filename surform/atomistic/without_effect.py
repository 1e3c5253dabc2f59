"""Weights of a potential that nothing it gives depends on, tried on a few atoms."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surform.data.atoms_neighbors import neighbor_list

__all__ = ["freeze_without_effect", "without_effect"]


def without_effect(net: nn.Module) -> tuple[str, ...]:
    """Names of trained parameters that never have a gradient.

    Published EquiformerV2 has some in its heads, of which only degree 0 or 1 is used. Nothing is
    drawn at random, and gradients are left alone.

    Args:
        net: a potential, with `cutoff`.
    """
    training = net.training
    net.eval()
    weights = {name: p for name, p in net.named_parameters() if p.requires_grad}
    if not weights:
        return ()
    like = next(iter(weights.values()))
    reach = min(1.0, float(net.cutoff) / 3)  # type: ignore[arg-type]
    positions = reach * torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.2, 0.1], [0.3, 0.8, -0.4]])
    numbers = torch.tensor([1, 1, 1], device=like.device)
    edges = neighbor_list(positions, 3 * reach).edge_index.to(like.device)
    call: Any = net
    with torch.enable_grad():
        found = call(positions.to(like), numbers, edges)
        total = torch.stack([part.sum() for part in found if part is not None]).sum()
        slopes = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    net.train(training)
    return tuple(n for n, slope in zip(weights, slopes, strict=True) if slope is None)


def freeze_without_effect(net: nn.Module) -> tuple[str, ...]:
    """Take such parameters out of training, and name them.

    Processes that train together would wait for their gradients.
    """
    names = without_effect(net)
    for name in names:
        net.get_parameter(name).requires_grad_(False)
    return names
