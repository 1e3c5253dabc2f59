"""The delta rule, chunk by chunk: what tokens of a chunk do to each other is one triangular solve.

Yang et al., 2024 (arXiv 2406.06484), section 3.2. Inside a chunk that begins with the state S, with
G_t the sum of the decays up to token t, the corrections u solve

    u_t + beta_t sum_{j < t} exp(G_t - G_j) (k_t . k_j) u_j = beta_t (v_t - exp(G_t) S^T k_t).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from surform.attention.widths import widened

__all__ = ["delta_chunks"]


def delta_chunks(
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
    """One triangular solve for all chunks, then one step per chunk: few, large matrix products."""
    dtype, n, width = q.dtype, q.shape[2], v.shape[3]
    q, k, v, beta = widened(q, k, v, beta)
    decay = None if decay is None else decay.to(q.dtype)
    if mask is not None:  # beta 0 writes nothing
        beta = beta * mask[:, None]
        decay = None if decay is None else decay.masked_fill(~mask[:, None], 0.0)
    size = min(chunk_size, n)
    q, k, v = (_chunked(x, size) for x in (q * scale, k, v))  # (b, h, c, size, ...)
    beta = _chunked(beta[..., None], size)
    grown = None if decay is None else _chunked(decay[..., None], size).cumsum(3)
    seen = q.new_ones(size, size).tril()
    inside = _decayed(q @ k.transpose(-2, -1), grown) * seen
    left = _decayed(beta * (k @ k.transpose(-2, -1)), grown)  # what is not below is not read
    read = k if grown is None else k * grown.exp()
    solved = torch.linalg.solve_triangular(
        left, torch.cat((beta * v, beta * read), -1), upper=False, unitriangular=True
    )
    values, keys = solved.split((width, k.shape[-1]), -1)
    asked = q if grown is None else q * grown.exp()
    if grown is not None:  # what is left of each token at the end of its chunk
        k = k * (grown[:, :, :, -1:] - grown).exp()
    s = None if state is None else state.to(q.dtype)
    # Unbound at once: the gradient of an indexed chunk would be a tensor of all chunks.
    chunks = zip(*(x.unbind(2) for x in (values, keys, asked, inside, k)), strict=True)
    kept = [None] * q.shape[2] if grown is None else grown[:, :, :, -1:].exp().unbind(2)
    out = []
    for (value, key, ask, among, write), left_over in zip(chunks, kept, strict=True):
        u = value if s is None else value - key @ s
        out.append(among @ u if s is None else ask @ s + among @ u)
        if s is not None and left_over is not None:
            s = s * left_over
        written = write.transpose(-2, -1) @ u
        s = written if s is None else s + written
    assert s is not None  # there is a chunk
    return torch.cat(out, 2)[:, :, :n].to(dtype), s


def _chunked(x: Tensor, size: int) -> Tensor:
    """(b, h, n, w) -> (b, h, chunks, size, w); zeros are put behind, which change no state."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % size)).unflatten(2, (-1, size))


def _decayed(products: Tensor, grown: Tensor | None) -> Tensor:
    """Products of tokens t and j, times what the decay leaves of j until t."""
    if grown is None:
        return products
    # never above 1 where j is before t; the rest, which nobody reads, might overflow
    return products * (grown - grown.transpose(-2, -1)).clamp(max=0).exp()
