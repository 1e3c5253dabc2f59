"""The delta rule: a state that is corrected by every token, softmax-free and causal.

Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", 2024
(arXiv 2406.06484), sections 2.2 and 3; with a decay, "Gated Delta Networks", 2024 (arXiv
2412.06464).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from surform.attention.checks import certainly, check_key_mask, check_same_numbers, check_tokens
from surform.attention.delta_chunks import delta_chunks
from surform.attention.dispatch import Call, Sizes, dispatch, kind, register
from surform.attention.widths import widened

__all__ = ["delta", "delta_states"]

_CHUNK = 32


def _example(
    sizes: Sizes, make: Callable[..., Tensor]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Keys of length one, as the layer makes them."""
    shape = (sizes.batch, sizes.heads, sizes.tokens, sizes.width)
    q, k, v = (make(*shape) for _ in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    return (q, k, v, make(*shape[:3], 1)[..., 0].sigmoid()), {}


@kind("delta", _example)
def delta(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    beta: Float[Tensor, "b h n"],
    *,
    decay: Float[Tensor, "b h n"] | None = None,
    initial_state: Float[Tensor, "b h d e"] | None = None,
    mask: Bool[Tensor, "b n"] | None = None,
    scale: float | None = None,
    chunk_size: int = _CHUNK,
) -> Float[Tensor, "b h n e"]:
    """S = exp(decay) S; S = S + k beta (v - S^T k)^T; the result is S^T q scale, token by token.

    Token t sees itself and what is before it. Keys should have length one: with beta in [0, 2]
    the state then stays bounded. 16-bit numbers are computed in float32.

    Args:
        beta: how much of what the state holds for a key is replaced by its value.
        decay: log of the factor that the state shrinks by before each token, not above 0.
        initial_state: the state before the first token; None = zeros.
        mask: True = keep; other tokens leave the state as it is, as if they were not there.
        scale: None = 1/sqrt(d).
        chunk_size: tokens that are computed together; the result does not depend on it.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not go together.
    """
    return _dispatched(q, k, v, beta, decay, initial_state, mask, scale, chunk_size)[0]


def delta_states(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    beta: Float[Tensor, "b h n"],
    *,
    decay: Float[Tensor, "b h n"] | None = None,
    initial_state: Float[Tensor, "b h d e"] | None = None,
    mask: Bool[Tensor, "b n"] | None = None,
    scale: float | None = None,
    chunk_size: int = _CHUNK,
) -> tuple[Float[Tensor, "b h n e"], Float[Tensor, "b h d e"]]:
    """`delta`, and the state after the last token, in float32 at least: the initial state of what
    follows. Arguments and errors as there."""
    return _dispatched(q, k, v, beta, decay, initial_state, mask, scale, chunk_size)


def _dispatched(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    decay: Tensor | None,
    state: Tensor | None,
    mask: Tensor | None,
    scale: float | None,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    check_tokens("delta", q, k, v)
    check_key_mask("delta", mask, k)
    if q.shape[2] != k.shape[2]:
        raise ValueError(
            f"delta attention is causal: q has {q.shape[2]} tokens, k and v {k.shape[2]}, but each "
            "token needs all three"
        )
    for name, given in (("beta", beta), ("decay", decay)):
        if given is not None and given.shape != q.shape[:3]:
            raise ValueError(
                f"delta attention: {name} has shape {tuple(given.shape)}, expected (batch, heads, "
                f"tokens) = {tuple(q.shape[:3])}"
            )
    whole = (*q.shape[:2], q.shape[3], v.shape[3])
    if state is not None and state.shape != whole:
        raise ValueError(
            f"delta attention: initial_state has shape {tuple(state.shape)}, expected (b, h, d, e) "
            f"= {whole}"
        )
    check_same_numbers("delta", q, *(x for x in (beta, decay) if x is not None))
    if not isinstance(chunk_size, int) or chunk_size < 1:
        raise ValueError(
            f"delta attention: chunk_size is {chunk_size!r}, but must be a whole number of at "
            "least 1"
        )
    tensors = {"q": q, "k": k, "v": v, "beta": beta, "decay": decay, "state": state, "mask": mask}
    scale = q.shape[3] ** -0.5 if scale is None else scale
    found = dispatch("delta", tensors, {"scale": scale, "chunk_size": chunk_size})
    return cast(tuple[Tensor, Tensor], found)


@register("delta", "reference")
def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    decay: Tensor | None,
    state: Tensor | None,
    mask: Tensor | None,
    scale: float,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """The recurrence, literally: one token after the other."""
    dtype, keep = q.dtype, None if mask is None else mask[:, None, :, None, None]
    q, k, v, beta = widened(q, k, v, beta)
    s = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3]) if state is None else state.to(q.dtype)
    shrink = None if decay is None else decay.to(q.dtype).exp()
    out = []
    for t in range(q.shape[2]):
        old = s if shrink is None else s * shrink[:, :, t, None, None]
        key, value = k[:, :, t, :, None], v[:, :, t, None, :]
        correction = beta[:, :, t, None, None] * (value - (old * key).sum(2, keepdim=True))
        new = old + key * correction
        s = new if keep is None else torch.where(keep[:, :, t], new, s)
        out.append((s * q[:, :, t, :, None]).sum(2) * scale)
    rows = torch.stack(out, 2) if out else v * q.sum(-1, keepdim=True)
    return rows.to(dtype), s


def _any_token(call: Call) -> str | None:
    return "there is no token" if certainly(call.shapes["q"][2] == 0) else None


def _several_tokens(call: Call) -> str | None:
    if certainly(call.shapes["q"][2] <= 1):
        return "one token: nothing to compute together"
    return None


register("delta", "chunks", priority=10, supports=_any_token, pays=_several_tokens)(delta_chunks)
