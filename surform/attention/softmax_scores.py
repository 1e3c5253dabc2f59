"""Softmax attention that writes its scores out: batched products of small matrices, for CPUs.

torch's fused CPU kernel walks through batch and heads one by one and pays microseconds for each;
series models attend over a dozen variates, patches or features, in thousands of such heads. With
dropout torch has no fused kernel: it writes the scores out, too, and draws a number for each. Of
bfloat16 the fused kernel multiplies small blocks, for which oneDNN's fast products are not used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surform.attention.dispatch import Call
from surform.attention.dropping import dropout
from surform.attention.rows import SHORT, softmax_rows

__all__ = ["pays", "softmax_scores", "supports"]

_HEADS = 32  # over the whole batch
_WIDEST = 32
_COMPARED = 256
_HELD = 2**23  # scores in bfloat16 of one call; the fused kernel holds none
_BFLOAT16 = torch.cpu._is_avx512_bf16_supported()  # whether the processor multiplies it


def supports(call: Call) -> str | None:
    """For `register`."""
    if call.device != "cpu":
        return "runs on the CPU only"
    if call.dtype == torch.bfloat16:
        return None if _BFLOAT16 else "has bfloat16 on processors with avx512_bf16 only"
    return None if call.dtype.itemsize >= 4 else "has no float16"


def pays(call: Call) -> str | None:
    """For `register`."""
    if call.has("mask") or call.has("bias") or call.has("causal"):
        return "pays without mask, bias and causal order only"
    (b, h), (keys, width) = call.shapes["q"][:2], call.shapes["k"][2:]
    small = _certainly(keys < SHORT) and _certainly(width <= _WIDEST)
    if torch.compiler.is_compiling():
        return None if small and call.dtype.itemsize >= 4 else _FEW
    if call.dtype == torch.bfloat16:
        few = b * h * call.shapes["q"][2] * keys <= _HELD
        return (
            None if few or call.has("dropout_p") else f"pays up to {_HELD} scores, or with dropout"
        )
    if call.dtype == torch.float64 and keys <= _COMPARED:
        return None  # double precision is for comparing digits, and this is the definition's order
    if b * h < _HEADS:
        return f"pays for {_HEADS} heads or more in the whole batch"
    unlike = _certainly(width != call.shapes["v"][3])  # torch's fused kernel wants equal widths
    return None if small or unlike or call.has("dropout_p") else _FEW


_FEW = (
    f"pays with dropout, for values of another width than keys, or for fewer than {SHORT} keys and "
    f"heads up to {_WIDEST} wide"
)


def _certainly(condition: bool) -> bool:
    """False for what compiled programs leave open: they serve every number of keys."""
    if not torch.compiler.is_compiling():
        return condition
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)


def softmax_scores(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    causal: bool,
    dropout_p: float,
    second_order: bool,
) -> Tensor:
    """Batched products around a softmax of plain operations: scores are written out."""
    scores, divisor = q @ k.transpose(-2, -1), _divisor(q.shape[-1], scale)
    if bias is None and mask is None and not causal:
        weights = softmax_rows(scores, divisor)
    else:
        scores = scores / divisor
        weights = _masked_rows(scores if bias is None else scores + bias, mask, causal)
    return (dropout(weights, dropout_p) if dropout_p else weights) @ v


def _divisor(width: int, scale: float | None) -> float:
    if scale is None:
        return width**0.5
    if scale == width**0.5:  # CARD's sharp scores: 1 / scale would be rounded once more
        return width**-0.5
    return 1 / scale if scale else float("inf")


def _masked_rows(scores: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    keep = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
    if causal:
        keep = keep.tril()
    if mask is not None:
        keep = keep & mask
    nothing = ~keep.any(-1, keepdim=True)
    scores = scores.masked_fill(~keep, float("-inf")).masked_fill(nothing, 0.0)
    return softmax_rows(scores).masked_fill(nothing, 0.0)
