"""AST and PaSST as their published formulas read, for comparison in tests and benchmarks.

Every patch is convolved before some are left out, every score is written out. Parameters are those
of `AST` and `PaSST`; nothing is dropped. `literal_soft_moa` is an AST with Soft-MoA adapters at its
attentions, every adapter on its own slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.audio.ast import AST
from surform.audio.passt import PaSST
from surform.audio.patchout import Kept
from surform.layers.adapted import Adapted
from surform.layers.adapter_mixtures import SoftMixture

__all__ = ["literal_ast", "literal_passt", "literal_soft_moa"]

Mixture = Callable[[Tensor], Tensor]


def literal_ast(net: AST, spectrograms: Tensor, mixtures: Sequence[Mixture] = ()) -> Tensor:
    """Logits of (b, t, f), read off the two first tokens; `mixtures`: of every block, if any."""
    x = net.patch(spectrograms.transpose(1, 2)[:, None]).flatten(2).transpose(1, 2)
    tokens = [t.expand(len(x), -1, -1) for t in (net.class_token, net.distillation_token)]
    x = torch.cat([*tokens, x], 1) + net.positions
    for block, mixture in zip(net.blocks, mixtures or [None] * len(net.blocks), strict=True):
        x = _block(block, x, mixture)
    x = net.norm(x)
    return net.head(net.head_norm((x[:, 0] + x[:, 1]) / 2))


def literal_soft_moa(adapted: Adapted, spectrograms: Tensor) -> Tensor:
    """Logits of an adapted AST: mixtures at the attention, added twice as officially."""
    base: Any = adapted.net
    mixtures = [_mixture(added.attention) for added in adapted.adapters]  # type: ignore[arg-type]
    return literal_ast(base, spectrograms, mixtures)


def _mixture(soft: SoftMixture) -> Mixture:
    def run(x: Tensor) -> Tensor:
        logits = torch.einsum("bmd,dnp->bmnp", x, soft.slots)
        given = torch.einsum("bmd,bmnp->bnpd", x, logits.softmax(1))
        made = torch.stack([a(given[:, n]) for n, a in enumerate(soft.adapters)], 1)
        weights = logits.flatten(2).softmax(-1).view(logits.shape)
        return torch.einsum("bnpd,bmnp->bmd", made, weights)

    return run


def literal_passt(net: PaSST, spectrograms: Tensor, kept: Kept | None = None) -> Tensor:
    """Logits of (b, t, f); columns, then rows, then single patches are left out."""
    kept = kept or Kept()
    x = net.patch(spectrograms.transpose(1, 2)[:, None])  # (b, c, rows, columns)
    time = net.time_positions[..., kept.start : kept.start + x.shape[3]]
    x = x + time + net.frequency_positions
    if kept.columns is not None:
        x = x[:, :, :, kept.columns]
    if kept.rows is not None:
        x = x[:, :, kept.rows]
    x = x.flatten(2).transpose(1, 2)
    if kept.tokens is not None:
        x = x[:, kept.tokens]
    first = [net.class_token + net.token_positions[:, :1]]
    if net.distillation_token is not None:
        first.append(net.distillation_token + net.token_positions[:, 1:])
    x = torch.cat([*(token.expand(len(x), -1, -1) for token in first), x], 1)
    for block in net.blocks:
        x = _block(block, x)
    x = net.norm(x)
    if net.distillation_token is not None:
        x = (x[:, 0] + x[:, 1]) / 2
    else:
        x = x[:, 0] if net.representation is None else net.representation(x[:, 0]).tanh()
    return net.head(net.head_norm(x))


def _block(block: nn.Module, x: Tensor, mixture: Mixture | None = None) -> Tensor:
    normed = block.norm1(x)
    added = 0 if mixture is None else mixture(normed)
    x = x + _attention(block.attention, normed) + added
    forward = block.feed_forward
    return x + forward.down(F.gelu(forward.up(block.norm2(x)))) + added


def _attention(module: nn.Module, x: Tensor) -> Tensor:
    b, n, c = x.shape
    q, k, v = module.qkv(x).reshape(b, n, 3, module.heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return module.out((weights @ v).transpose(1, 2).reshape(b, n, c))
