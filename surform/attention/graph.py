"""Attention along the edges of a graph: softmax over the edges that end at a node.

Velickovic et al., "Graph Attention Networks", 2018 (arXiv 1710.10903), equation 6, for any scores.
Values may stand in a frame of their edge each, as in equivariant networks (Liao et al.,
"EquiformerV2", 2023, arXiv 2306.12059), and are turned into the common frame before they add up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from surform.attention.checks import check_same_numbers
from surform.attention.dispatch import Call, Sizes, dispatch, kind, register
from surform.attention.rules import cpu_only

__all__ = ["edge_weights", "graph"]


def _example(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple, dict]:
    """Every node receives from `keys` others, 20 where nothing is said."""
    degree = 20 if sizes.keys is None else sizes.keys
    target = torch.arange(sizes.tokens).repeat_interleave(degree)
    scores = make(len(target), sizes.heads)
    v = make(len(target), 1, sizes.heads, sizes.width)
    return (scores, v, target.to(scores.device), sizes.tokens), {}


@kind("graph", _example)
def graph(
    scores: Float[Tensor, "e h"],
    v: Float[Tensor, "e r h d"],
    target: Int[Tensor, " e"],
    nodes: int,
    *,
    frames: Float[Tensor, "e r s"] | None = None,
    envelope: Float[Tensor, " e"] | None = None,
    dropout_p: float = 0.0,
) -> Float[Tensor, "n s h d"]:
    """sum over edges e into each node of p_e F_e^T v_e, p = softmax of the scores over those edges.

    A node without edges gets zeros. The denominator is 1e-16 larger than the sum.

    Args:
        target: the node that each edge ends at, 0 ... nodes - 1, in any order.
        frames: F; None: the values stand in the common frame, s = r.
        envelope: smooth function of each edge that is 0 where the edge ends to exist: it multiplies
            exponentials and values, so that nothing jumps when edges come and go.
        dropout_p: share of the weights, per edge and head, that are 0; the others grow.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    e, h = scores.shape if scores.ndim == 2 else (-1, -1)
    if v.ndim != 4 or v.shape[0] != e or v.shape[2] != h or target.shape != (e,):
        raise ValueError(
            f"graph attention: scores {tuple(scores.shape)}, v {tuple(v.shape)} and target "
            f"{tuple(target.shape)} do not fit (e, h), (e, r, h, d) and (e,)"
        )
    if frames is not None and (frames.ndim != 3 or frames.shape[:2] != v.shape[:2]):
        raise ValueError(
            f"graph attention: frames have shape {tuple(frames.shape)}, expected (edges, rows, any)"
            f" with {tuple(v.shape[:2])} in front"
        )
    if envelope is not None and envelope.shape != (e,):
        raise ValueError(
            f"graph attention: envelope has shape {tuple(envelope.shape)}, expected ({e},)"
        )
    others = [one for one in (v, frames, envelope) if one is not None]
    check_same_numbers("graph", scores, *others)
    tensors = {"scores": scores, "v": v, "target": target, "frames": frames, "envelope": envelope}
    return dispatch("graph", tensors, {"nodes": nodes, "dropout_p": dropout_p})


def edge_weights(
    scores: Float[Tensor, "e h"],
    target: Int[Tensor, " e"],
    nodes: int,
    envelope: Float[Tensor, " e"] | None = None,
) -> Float[Tensor, "e h"]:
    """The softmax of `graph`: what each edge's value is multiplied by."""
    index = target[:, None].expand_as(scores)
    largest = scores.new_zeros(nodes, scores.shape[1])
    largest = largest.scatter_reduce(0, index, scores.detach(), "amax", include_self=False)
    weights = (scores - largest[target]).exp()
    if envelope is not None:
        weights = weights * envelope[:, None]
    total = weights.new_zeros(nodes, weights.shape[1]).index_add(0, target, weights)
    weights = weights / (total[target] + 1e-16)
    return weights if envelope is None else weights * envelope[:, None]


@register("graph", "reference", priority=0)
def _reference(
    scores: Tensor,
    v: Tensor,
    target: Tensor,
    frames: Tensor | None,
    envelope: Tensor | None,
    nodes: int,
    dropout_p: float,
) -> Tensor:
    """The definition, literally."""
    weighted = _weighted(scores, v, target, envelope, nodes, dropout_p)
    if frames is not None:
        turned = frames.transpose(1, 2) @ weighted.flatten(2)
        weighted = turned.view(v.shape[0], frames.shape[2], *v.shape[2:])
    return weighted.new_zeros(nodes, *weighted.shape[1:]).index_add(0, target, weighted)


def _on_cpu(call: Call) -> str | None:
    if not call.has("frames"):
        return "values stand in the common frame: there are no products to join"
    return cpu_only(call)


def _eager(call: Call) -> str | None:
    if torch.compiler.is_compiling():
        return "a compiled program does not know how many edges each node has"
    return None


@register("graph", "nodes", priority=10, supports=_on_cpu, pays=_eager)
def _nodes(
    scores: Tensor,
    v: Tensor,
    target: Tensor,
    frames: Tensor | None,
    envelope: Tensor | None,
    nodes: int,
    dropout_p: float,
) -> Tensor:
    """One product per node turns and adds up all of its edges (CPU)."""
    assert frames is not None
    if not bool((target[1:] >= target[:-1]).all()):
        order = target.argsort(stable=True)
        scores, v, target, frames = scores[order], v[order], target[order], frames[order]
        envelope = None if envelope is None else envelope[order]
    weighted = _weighted(scores, v, target, envelope, nodes, dropout_p).flatten(2)
    degrees = torch.bincount(target, minlength=nodes).tolist()
    pairs = zip(frames.split(degrees), weighted.split(degrees), strict=True)
    found = [turn.flatten(0, 1).t() @ values.flatten(0, 1) for turn, values in pairs]
    shape = (nodes, frames.shape[2], *v.shape[2:])
    return torch.stack(found).view(shape) if found else v.new_zeros(shape)


def _weighted(
    scores: Tensor,
    v: Tensor,
    target: Tensor,
    envelope: Tensor | None,
    nodes: int,
    dropout_p: float,
) -> Tensor:
    weights = edge_weights(scores, target, nodes, envelope)
    if dropout_p:
        weights = torch.nn.functional.dropout(weights, dropout_p)
    return v * weights[:, None, :, None]
