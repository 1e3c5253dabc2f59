"""Graphs of atoms that networks can read: one sentence instead of an error deep inside."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_graph", "check_nodes", "check_vectors"]

_ALONG = 1e-2  # how far the second row of a frame may be from its edge's direction


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
    if shifts is not None and shifts.dtype != positions.dtype:
        raise TypeError(f"positions are {positions.dtype}, but shifts {shifts.dtype}")


def check_nodes(edge_index: Tensor, batch: Tensor, structures: int) -> None:
    """ValueError for nodes and structures that do not exist; see `check_vectors` for where."""
    if _is_unseen(batch):
        return
    known = {
        "edge_index": (edge_index, f"{len(batch)} atoms", len(batch)),
        "batch": (batch, f"{structures} structures", structures),
    }
    for name, (values, what, most) in known.items():
        if not values.numel():
            continue
        low, high = (int(each) for each in torch.aminmax(values))
        if low < 0 or high >= most:
            raise ValueError(f"{name} holds {low if low < 0 else high}, but there are {what}")


def check_vectors(edge_index: Tensor, vectors: Tensor, edge_rot_mat: Tensor | None) -> None:
    """ValueError for vectors without a direction, and for frames of other edges.

    On a CPU only, and not while compiling: looking at values makes other devices wait.
    """
    if _is_unseen(vectors):
        return
    fixed = vectors.detach()
    length = fixed.norm(dim=1)
    wrong = ~((length > 0) & length.isfinite())
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        i, j = edge_index[:, first].tolist()
        what = "has length 0: it has no direction"
        if not bool(fixed[first].isfinite().all()):
            what = f"has a vector that is not finite: {fixed[first].tolist()}"
        raise ValueError(f"edge {first}, from atom {i} to atom {j}, {what}")
    if edge_rot_mat is not None and len(fixed):
        off = (edge_rot_mat.detach()[:, 1] - fixed / length[:, None]).norm(dim=1)
        if not float(off.max()) < _ALONG:
            raise ValueError(
                f"the second row of edge_rot_mat[{int(off.argmax())}] is not its edge's direction"
            )


def _is_unseen(values: Tensor) -> bool:
    return torch.compiler.is_compiling() or values.device.type != "cpu"
