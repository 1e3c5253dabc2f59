"""Softmax attention in two resolutions: exact in chosen blocks, constant in each of the others.

Zeng et al., "Multi Resolution Analysis (MRA) for Approximate Self-Attention", 2022 (arXiv
2207.10284): MRA-2 and, without the other blocks, MRA-2-s.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from surform.attention.checks import check_key_mask, check_tokens
from surform.attention.dispatch import Call, dispatch, kind, register
from surform.attention.multiresolution_blocks import (
    EPS,
    HIDDEN,
    Coarse,
    coarse_scores,
    multiresolution_blocks,
    padded,
)
from surform.attention.rules import qkv

__all__ = ["multiresolution", "selected_blocks"]

Mode = Literal["full", "sparse"]
_BLOCK = 32
_MODES = ("full", "sparse")


@kind("multiresolution", qkv)
def multiresolution(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    *,
    mask: Bool[Tensor, "b n"] | None = None,
    blocks_per_row: float = 4.0,
    num_blocks: int | None = None,
    mode: Mode = "full",
    block_size: int = _BLOCK,
    first_blocks: int = 0,
    diagonal_blocks: int = 0,
    scale: float | None = None,
) -> Float[Tensor, "b h n e"]:
    """Attention of tokens among themselves: blocks of scores are computed where they matter most.

    Scores of the means of blocks of queries and keys, less the largest of each row, choose the
    blocks that are computed exactly. Mode "full" gives all other blocks the score of the means;
    "sparse" leaves them out. The choice has no gradient. Lengths that blocks do not divide are
    padded with tokens that the mask leaves out.

    Args:
        mask: True = keep; other tokens are left out and give zeros.
        blocks_per_row: blocks chosen, for each block of queries on average.
        num_blocks: blocks chosen in all, instead.
        block_size: tokens of a block.
        first_blocks: so many first rows and columns of blocks are chosen before others.
        diagonal_blocks: likewise a band along the diagonal, so many blocks wide.
        scale: None = 1/sqrt(d).

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or options that do not go together.
    """
    check_tokens("multiresolution", q, k, v)
    check_key_mask("multiresolution", mask, k)
    if q.shape[2] != k.shape[2]:
        raise ValueError(
            f"multiresolution attention: q has {q.shape[2]} tokens and k {k.shape[2]}, but it is "
            "attention of tokens among themselves: both need the same"
        )
    if mode not in _MODES:
        raise ValueError(f"multiresolution attention: mode {mode!r} is none of {', '.join(_MODES)}")
    for name, least, value in (
        ("block_size", 1, block_size), ("first_blocks", 0, first_blocks),
        ("diagonal_blocks", 0, diagonal_blocks), ("num_blocks", 1, num_blocks),
    ):  # fmt: skip
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(
                f"multiresolution attention: {name} is {value!r}, but must be a whole number of at "
                f"least {least}"
            )
    if num_blocks is None and not blocks_per_row > 0:
        raise ValueError(
            f"multiresolution attention: blocks_per_row is {blocks_per_row}, but must be above 0"
        )
    side = -(-q.shape[2] // block_size)
    wanted = int(side * blocks_per_row) if num_blocks is None else num_blocks
    return dispatch(
        "multiresolution",
        {"q": q, "k": k, "v": v, "mask": mask},
        {
            "num_blocks": min(max(wanted, 1), side * side),
            "mode": mode,
            "block_size": block_size,
            "priors": (first_blocks, diagonal_blocks),
            "scale": q.shape[3] ** -0.5 if scale is None else scale,
        },
    )


def selected_blocks(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    num_blocks: int,
    *,
    mask: Bool[Tensor, "b n"] | None = None,
    block_size: int = _BLOCK,
    first_blocks: int = 0,
    diagonal_blocks: int = 0,
) -> tuple[Int[Tensor, "b h s"], Float[Tensor, "b h r r"]]:
    """The chosen blocks, row * blocks + column, and the scores of the means of all blocks."""
    q, k, _, keep = padded(q, k, k, mask, block_size)
    coarse = coarse_scores(q, k, None, keep, block_size, q.shape[3] ** -0.5)
    return coarse.chosen(num_blocks, (first_blocks, diagonal_blocks))[0], coarse.scores


@register("multiresolution", "reference")
def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    num_blocks: int,
    mode: Mode,
    block_size: int,
    priors: tuple[int, int],
    scale: float,
) -> Tensor:
    """The definition, literally: all scores, each exact or its block's."""
    dtype, n = q.dtype, q.shape[2]
    if n == 0:
        return v
    q, k, v, keep = padded(q, k, v, mask, block_size)
    coarse = coarse_scores(q, k, v, keep, block_size, scale)
    index, above = coarse.chosen(num_blocks, priors)
    side = coarse.scores.shape[-1]
    exact = torch.zeros_like(coarse.scores, dtype=torch.bool).flatten(2)
    exact = exact.scatter(2, index, True).unflatten(2, (side, side))

    def spread(x: Tensor) -> Tensor:
        """Entries of blocks -> of tokens."""
        return x.repeat_interleave(block_size, 2).repeat_interleave(block_size, 3)

    scores = q @ k.transpose(-2, -1) * scale
    shift = scores.detach().masked_fill(~spread(exact), float("-inf")).amax(-1, keepdim=True)
    if mode == "full":
        shift = torch.maximum(shift, _rows(coarse, block_size))
    shift = shift.masked_fill(shift.isinf(), 0.0)
    if keep is not None:
        scores = scores - HIDDEN * (~keep[:, None, None]).to(q.dtype)
    weights = (scores - shift).exp() * spread(exact)
    total, out = weights.sum(-1, keepdim=True), weights @ v
    if mode == "full":
        other = coarse.scores.masked_fill(above, float("-inf"))
        # each block: the score of its means, for as many tokens as it has
        block = other.repeat_interleave(block_size, 2) - shift
        weights = block.exp() * coarse.count[:, :, None]
        total, out = total + weights.sum(-1, keepdim=True), out + weights @ coarse.values
    out = out / (total + EPS)
    return (out if keep is None else out * keep[:, None, :, None])[:, :, :n].to(dtype)


def _rows(coarse: Coarse, block_size: int) -> Tensor:
    return coarse.largest.detach().repeat_interleave(block_size, 2)


register("multiresolution", "blocks", priority=10)(multiresolution_blocks)


def _needs_all_blocks(call: Call) -> str | None:
    side = -(-call.shapes["q"][2] // call.options["block_size"])
    chosen = call.options["num_blocks"]
    return None if chosen >= side**2 else f"only {chosen} of {side**2} blocks are exact"


@register("multiresolution", "dense", priority=20, supports=_needs_all_blocks)
def _dense(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    num_blocks: int,
    mode: Mode,
    block_size: int,
    priors: tuple[int, int],
    scale: float,
) -> Tensor:
    """All blocks are exact, as in short sequences: softmax but for what stands beside its sum."""
    dtype, n = q.dtype, q.shape[2]
    if n == 0:
        return v
    q, k, v, keep = padded(q, k, v, mask, block_size)
    scores = (q * scale) @ k.transpose(-2, -1)
    shift = scores.detach().amax(-1, keepdim=True)
    if mode == "full":
        with torch.no_grad():
            coarse = coarse_scores(q, k, None, keep, block_size, scale)
            shift = torch.maximum(shift, _rows(coarse, block_size))
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None], float("-inf"))
    weights = (scores - shift).exp()
    out = weights @ v / (weights.sum(-1, keepdim=True) + EPS)
    return (out if keep is None else out * keep[:, None, :, None])[:, :, :n].to(dtype)
