"""Linear attention over sets of keys in two steps: sums over each set, then one pass over queries.

Katharopoulos et al., "Transformers are RNNs", 2020 (arXiv 2006.16236), equation 5, for one set;
Hao et al., "GNOT: A General Neural Operator Transformer", 2023 (arXiv 2302.14376), equations 6 and
9, for several. Sums over parts of a set add up to the sums over the set, so that tokens can be read
in pieces, and those of a set that does not change serve any number of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import Sizes, dispatch, kind, register
from surform.attention.products import outer
from surform.attention.rules import avoids_copies, cpu_only, key_count, mean_product

__all__ = ["key_sums", "keysum"]


def _keys(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple[Tensor, ...], dict]:
    keys = sizes.tokens if sizes.keys is None else sizes.keys
    k, v = (make(sizes.batch, sizes.heads, keys, sizes.width) for _ in range(2))
    return (k.exp(), v), {}


def _two_sets(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple, dict]:
    q = make(sizes.batch, sizes.heads, sizes.tokens, sizes.width)
    sums = [make(sizes.batch, sizes.heads, sizes.width, sizes.width + 1).exp() for _ in range(2)]
    return (q.exp(), sums), {}


@kind("key_sums", _keys)
def key_sums(
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Bool[Tensor, "#b m"] | None = None,
    weights: Float[Tensor, "#b m"] | None = None,
) -> Float[Tensor, "b h d e_and_1"]:
    """sum over keys m of w_m k_m [v_m 1]^T: all that `keysum` needs of a set of keys and values.

    16-bit keys give sums in float32.

    Args:
        mask: True = keep.
        weights: w, e.g. the measure of the mesh that a key stands for; None = 1.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    check_tokens("key_sums", k, k, v)
    check_key_mask("key_sums", mask, k)
    if torch.is_autocast_enabled(k.device.type):
        k, v = (x.to(torch.get_autocast_dtype(k.device.type)) for x in (k, v))
    size: Tensor | None = None
    if weights is not None:
        if weights.ndim != 2 or weights.shape[1] != k.shape[2] or len(weights) not in (1, len(k)):
            raise ValueError(
                f"key_sums attention: weights have shape {tuple(weights.shape)}, expected "
                f"(batch, keys) = ({k.shape[0]}, {k.shape[2]})"
            )
        if mask is not None:
            weights = torch.where(mask, weights, 0.0)
        if k.dtype.itemsize < 4:  # which do not hold the measures of every mesh
            size = F.pad(weights.detach().float(), (0, 1)).amax(-1, keepdim=True)
            size = size.masked_fill(size == 0, 1.0)
            weights = weights / size
        k = k * weights.to(k.dtype)[:, None, :, None]
    sums = dispatch("key_sums", {"k": k, "v": v, "mask": mask}, {})
    return sums if size is None else sums * size[..., None, None]


@kind("keysum", _two_sets)
def keysum(
    q: Float[Tensor, "b h n d"],
    sums: Sequence[Float[Tensor, "b h d e_and_1"]],
    *,
    merge: bool = False,
    residual: Float[Tensor, "b *heads n e"] | None = None,
) -> Float[Tensor, "b *heads n e"]:
    """sum over sets of q (sum w k v^T) / (q . sum w k), each set given by its `key_sums`.

    The result is (b, h, n, e). A set without any key adds nothing.

    Args:
        sums: at least one; those of 16-bit queries may be in float32.
        merge: add up the heads, (b, n, e): the projection that follows merged heads is folded into
            the sums then, values v W_h instead of v.
        residual: added to the result, in its shape.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    sums = tuple(sums)
    _check_sums(q, sums)
    _check_residual(q, sums, merge, residual)
    if q.dtype.itemsize < 4 or torch.is_autocast_enabled(q.device.type):
        sums = tuple(_scaled(one, q) for one in sums)
    check_same_numbers("keysum", q, *sums, *([] if residual is None else [residual]))
    return dispatch("keysum", {"q": q, "sums": sums, "residual": residual}, {"merge": merge})


def _check_sums(q: Tensor, sums: tuple[Tensor, ...]) -> None:
    if q.ndim != 4:
        raise ValueError(
            f"keysum attention: q has shape {tuple(q.shape)}, expected "
            "(batch, heads, tokens, width)"
        )
    if not sums:
        raise ValueError("keysum attention needs the sums of at least one set of keys")
    front = (q.shape[0], q.shape[1], q.shape[3])
    for one in sums:
        if one.ndim != 4 or one.shape[:3] != front or one.shape[3] != sums[0].shape[3]:
            raise ValueError(
                f"keysum attention: sums have shapes {[tuple(s.shape) for s in sums]}, expected "
                f"(batch, heads, width, e + 1) with {front} in front and one e for all sets"
            )


def _check_residual(
    q: Tensor, sums: tuple[Tensor, ...], merge: bool, residual: Tensor | None
) -> None:
    b, h, n, _ = q.shape
    want = (b, n) if merge else (b, h, n)
    want = (*want, sums[0].shape[3] - 1)
    if residual is not None and residual.shape != want:
        raise ValueError(
            f"keysum attention: residual has shape {tuple(residual.shape)}, the result {want}"
        )


def _scaled(sums: Tensor, q: Tensor) -> Tensor:
    """The sums over their largest number, in the dtype of q: a common factor changes no result, and
    16 bits do not hold sums over many keys."""
    size = sums.detach().abs().amax((-2, -1), keepdim=True)
    return (sums / size.masked_fill(size == 0, 1.0)).to(q.dtype)


@register("key_sums", "reference", priority=0)
def _sums_reference(k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The definition, literally."""
    if mask is not None:
        k = k * mask[:, None, :, None]
    return _sums(k, v, mask, lambda a, b: a.transpose(-2, -1) @ b)


@register("key_sums", "tokens", priority=10, supports=cpu_only, pays=avoids_copies)
def _sums_tokens(k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Batched products on k and v as they lie in memory; masked keys are never written out."""
    return _sums(k, v, mask, lambda a, b: outer(a, b, mask))


def _sums(
    k: Tensor, v: Tensor, mask: Tensor | None, product: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    ones = k.new_ones(1, 1, 1, 1).expand(*k.shape[:3], 1)
    if k.dtype.itemsize >= 4:
        return torch.cat([product(k, v), product(k, ones)], dim=-1)
    # in 16 bits as means, which do not overflow
    means = [mean_product(product, k, x, mask).float() for x in (v, ones)]
    return torch.cat(means, dim=-1) * key_count(k, mask)


@register("keysum", "reference", priority=0)
def _reference(q: Tensor, sums: tuple[Tensor, ...], residual: Tensor | None, merge: bool) -> Tensor:
    """The definition, literally."""
    parts = [(q @ one[..., :-1]) / (q @ _total(one)) for one in sums]
    out = torch.stack(parts).sum(0)
    if merge:
        out = out.sum(1)
    return out if residual is None else residual + out


def _total(sums: Tensor) -> Tensor:
    """sum w k (b, h, d, 1); ones for a set without any key, whose products are zero."""
    total = sums[..., -1:]
    return total.masked_fill((total == 0).all(-2, keepdim=True), 1.0)


@register("keysum", "joined", priority=10)
def _joined(q: Tensor, sums: tuple[Tensor, ...], residual: Tensor | None, merge: bool) -> Tensor:
    """One product for all sets (and heads, if merged): queries over each set's normaliser, side by
    side."""
    joint = torch.stack([one[..., :-1] for one in sums], dim=2)  # (b, h, sets, d, e)
    shares = 1.0 / (q @ torch.cat([_total(one) for one in sums], dim=-1))  # (b, h, n, sets)
    if merge:  # (b, n, h, sets, d): heads lie inside of tokens
        q, shares = q.transpose(1, 2), shares.transpose(1, 2)
    scaled = (q.unsqueeze(-2) * shares.unsqueeze(-1)).flatten(2 if merge else 3)
    return _product(scaled, joint.flatten(1, 3) if merge else joint.flatten(2, 3), residual)


def _product(a: Tensor, b: Tensor, residual: Tensor | None) -> Tensor:
    """residual + a b."""
    if residual is None:
        return a @ b
    flat = (x.flatten(0, -3) for x in (residual, a, b))
    return torch.baddbmm(*flat).view(*a.shape[:-1], b.shape[-1])
