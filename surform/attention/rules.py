"""What several kinds share: where kernels for CPUs pay, the number of keys, an example call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from surform.attention.checks import certainly
from surform.attention.dispatch import Call, Sizes

__all__ = ["avoids_copies", "cpu_only", "key_count", "mean_product", "not_exporting", "qkv"]
__all__ += ["scores_cost_less"]

_FEW_TOKENS = 512  # below, custom operators cost more than the copies that they avoid (measured)


def qkv(sizes: Sizes, make: Callable[..., Tensor]) -> tuple[tuple[Tensor, ...], dict]:
    """The example call of a kind of q, k and v."""
    keys = sizes.tokens if sizes.keys is None else sizes.keys
    head = (sizes.batch, sizes.heads)
    k, v = (make(*head, keys, sizes.width) for _ in range(2))
    return (make(*head, sizes.tokens, sizes.width), k, v), {}


def cpu_only(call: Call) -> str | None:
    """For `supports`."""
    return None if call.device == "cpu" else "is written for a CPU's caches"


def not_exporting(call: Call) -> str | None:
    """For `pays`."""
    return "an exported program holds plain torch operations only" if call.exporting else None


def avoids_copies(call: Call) -> str | None:
    """For `pays`: torch copies heads cut out of (b, n, h * d) only when b > 1 and h > 1."""
    b, h, n, _ = call.shapes["k"]
    if certainly(b == 1) or certainly(h == 1):
        return "one sample or one head: torch's batched products copy nothing either"
    if certainly(n < _FEW_TOKENS):
        return f"fewer than {_FEW_TOKENS} tokens: copying them costs less"
    if call.dtype.itemsize < 4:
        return "torch's batched products of 16-bit numbers are faster"
    return not_exporting(call)


def scores_cost_less(call: Call) -> str | None:
    """For `pays` of kernels that compute q (k^T v)."""
    (n, d), (m, e) = call.shapes["q"][2:], call.shapes["v"][2:]
    scores, factored = n * m * (d + e), d * e * (n + m)  # multiplications per head
    if certainly(scores < factored):
        return f"(q k^T) v takes fewer multiplications here: {scores} against {factored}"
    return None


def key_count(k: Tensor, mask: Tensor | None) -> int | Tensor:
    """How many keys the mask keeps, at least 1; never in 16 bits, which lack most large numbers."""
    if mask is None:
        return max(k.shape[-2], 1)
    count = mask.sum(-1).clamp(min=1)[:, None, None, None]
    return count.to(torch.promote_types(k.dtype, torch.float32))


def mean_product(
    product: Callable[[Tensor, Tensor], Tensor], k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """product(k, v), a sum over the kept keys, divided by their number.

    In float16 such a sum may overflow: there k and v bring a root of the divisor each.
    """
    count = key_count(k, mask)
    if k.dtype == torch.float16:
        root = count.rsqrt().to(k.dtype) if isinstance(count, Tensor) else count**-0.5
        return product(k * root, v * root)
    total = product(k, v)
    return (total / count).to(total.dtype)
