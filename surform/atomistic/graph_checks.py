"""Graphs of atoms that networks can read: one sentence instead of an error deep inside."""

from __future__ import annotations

from torch import Tensor

__all__ = ["check_graph"]


def check_graph(
    positions: Tensor,
    atomic_numbers: Tensor,
    edge_index: Tensor,
    shifts: Tensor | None,
    batch: Tensor | None,
    edge_rot_mat: Tensor | None,
) -> None:
    """ValueError or TypeError unless the tensors are those of one graph."""
    n = positions.shape[0]
    if positions.ndim != 2 or positions.shape[1] != 3 or not positions.is_floating_point():
        raise ValueError(
            f"positions must be floating-point (atoms, 3), not {positions.dtype} of shape "
            f"{tuple(positions.shape)}"
        )
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index must be (2, edges), not {tuple(edge_index.shape)}")
    e = edge_index.shape[1]
    wanted = {
        "atomic_numbers": (atomic_numbers, (n,)),
        "batch": (batch, (n,)),
        "shifts": (shifts, (e, 3)),
        "edge_rot_mat": (edge_rot_mat, (e, 3, 3)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {shape} for {n} atoms and {e} "
                "edges"
            )
    for name, tensor in (("atomic_numbers", atomic_numbers), ("edge_index", edge_index)):
        if tensor.is_floating_point():
            raise TypeError(f"{name} must hold whole numbers, not {tensor.dtype}")
