"""Small structures, small networks and turns of space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surform.atomistic.equiformer_v2 import Energies, EquiformerV2
from surform.data.atoms_neighbors import neighbor_list

SMALL: dict[str, Any] = {
    "dim": 6, "depth": 2, "lmax": 3, "mmax": 2, "heads": 2, "hidden": 5, "alphas": 4, "values": 3,
    "feed_forward": 7, "edge_channels": 5, "elements": 20, "cutoff": 5.0, "max_neighbors": None,
}  # fmt: skip
ETHANOL = torch.tensor(
    [
        [1.1879, -0.3829, 0.0], [0.0, 0.5526, 0.0], [-1.1867, -0.2472, 0.0],
        [-1.9237, 0.385, 0.0], [2.0985, 0.2306, 0.0], [1.1184, -1.0093, 0.8869],
        [1.1184, -1.0093, -0.8869], [-0.0227, 1.1812, 0.8852], [-0.0227, 1.1812, -0.8852],
    ],
    dtype=torch.float64,
)  # fmt: skip
NUMBERS = torch.tensor([6, 6, 8, 1, 1, 1, 1, 1, 1])
CELL = torch.tensor([[4.1, 0.2, 0.0], [0.3, 4.4, 0.1], [0.0, 0.5, 4.9]], dtype=torch.float64)
CRYSTAL = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.1, 0.3], [0.4, 2.0, 2.4]], dtype=torch.float64)
CRYSTAL_NUMBERS = torch.tensor([12, 8, 14])


def network(noise: float = 0.1, **options: Any) -> EquiformerV2:
    """A small network in float64 whose every weight matters, unless there is no noise."""
    torch.manual_seed(0)
    net = EquiformerV2(**(SMALL | options)).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.add_(noise * drawn)
    return net


def of(net: EquiformerV2, positions: Tensor, numbers: Tensor, **options: Any) -> Energies:
    """Energies and forces of one structure, or of several with `batch`."""
    batch = options.get("batch")
    found = neighbor_list(positions, net.cutoff, max_neighbors=net.max_neighbors, **options)
    return net(positions, numbers, found.edge_index, found.shifts, batch=batch)


def measured(net: EquiformerV2, positions: Tensor, numbers: Tensor, **options: Any) -> Energies:
    """The same without any graph."""
    return Energies(
        *(None if x is None else x.detach() for x in of(net, positions, numbers, **options))
    )


def turn(seed: int = 0) -> Tensor:
    """A random rotation, (3, 3)."""
    made = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double()
    )
    return made.Q * made.Q.det()
