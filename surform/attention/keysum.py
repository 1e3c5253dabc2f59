"""Linear attention over sets of keys in two steps: sums over each set, then one pass over queries.

Katharopoulos et al., "Transformers are RNNs", 2020 (arXiv 2006.16236), equation 5, for one set;
Hao et al., "GNOT: A General Neural Operator Transformer", 2023 (arXiv 2302.14376), equations 6 and
9, for several. Sums over parts of a set add up to the sums over the set, so that tokens can be read
in pieces, and those of a set that does not change serve any number of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import check_key_mask, check_same_numbers, check_tokens
from surform.attention.dispatch import Call, Sizes, dispatch, kind, register
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
    mask: Bool[Tensor, "b m"] | None = None,
    weights: Float[Tensor, "b m"] | None = None,
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
    if weights is not None:
        if weights.ndim != 2 or weights.shape[1] != k.shape[2] or len(weights) not in (1, len(k)):
            raise ValueError(
                f"key_sums attention: weights have shape {tuple(weights.shape)}, expected "
                f"(batch, keys) = ({k.shape[0]}, {k.shape[2]})"
            )
        k = k * weights.to(k.dtype)[:, None, :, None]
    return dispatch("key_sums", {"k": k, "v": v, "mask": mask}, {})


@kind("keysum", _two_sets)
def keysum(
    q: Float[Tensor, "b h n d"], sums: Sequence[Float[Tensor, "b h d e_and_1"]]
) -> Float[Tensor, "b h n e"]:
    """sum over sets of q (sum w k v^T) / (q . sum w k), each set given by its `key_sums`.

    A set without any key adds nothing.

    Args:
        sums: at least one; those of 16-bit queries may be in float32.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    sums = tuple(sums)
    _check_sums(q, sums)
    if q.dtype.itemsize < 4 or torch.is_autocast_enabled(q.device.type):
        sums = tuple(_scaled(one, q) for one in sums)
    check_same_numbers("keysum", q, *sums)
    return dispatch("keysum", {"q": q, "sums": sums}, {})


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


def _scaled(sums: Tensor, q: Tensor) -> Tensor:
    """The sums over their number of keys, more or less, in the dtype of q: a common factor changes
    no result, and 16 bits do not hold sums over many keys."""
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
def _reference(q: Tensor, sums: tuple[Tensor, ...]) -> Tensor:
    """The definition, literally."""
    parts = []
    for one in sums:
        products, total = one[..., :-1], _total(one)
        parts.append((q @ products) / (q @ total))
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def _total(sums: Tensor) -> Tensor:
    """sum w k (b, h, d, 1); ones for a set without any key, whose products are zero."""
    total = sums[..., -1:]
    return total.masked_fill((total == 0).all(-2, keepdim=True), 1.0)


def _joined_pays(call: Call) -> str | None:
    if len(call.shapes["sums"]) == 1:
        return "one set: there is nothing to join"
    return None


@register("keysum", "joined", priority=10, pays=_joined_pays)
def _joined(q: Tensor, sums: tuple[Tensor, ...]) -> Tensor:
    """One product for all sets: queries, divided by each set's normaliser, stand side by side."""
    b, h, n, d = q.shape
    normalizers = q @ torch.cat([_total(one) for one in sums], dim=-1)  # (b, h, n, sets)
    scaled = q[..., None, :] / normalizers[..., None]  # (b, h, n, sets, d)
    products = torch.cat([one[..., :-1] for one in sums], dim=-2)  # (b, h, sets d, e)
    return scaled.reshape(b, h, n, len(sums) * d) @ products
