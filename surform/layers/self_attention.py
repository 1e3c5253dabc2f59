"""Self-attention of any kind by name, for models whose attention is chosen by configuration."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from torch import nn

from surform.layers.additive_attention import AdditiveAttention
from surform.layers.attends import Softmax
from surform.layers.checks import one_of
from surform.layers.delta_attention import DeltaAttention
from surform.layers.efficient_attends import MultiResolution, NearestKeys
from surform.layers.lsh_attention import LSHAttention
from surform.layers.multihead import SelfAttention
from surform.layers.spectral_kernel import SpectralKernel

__all__ = ["AttentionKind", "self_attention"]

AttentionKind = Literal["softmax", "additive", "delta", "knn", "lsh", "multiresolution", "spectral"]
_CAUSAL = ("softmax", "delta", "knn", "lsh")  # those that can leave out what comes later


def self_attention(
    kind: AttentionKind,
    dim: int,
    heads: int,
    *,
    options: Mapping[str, Any] | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    ordered: bool = True,
    qkv_bias: bool = True,
) -> nn.Module:
    """A module (b, n, dim) -> (b, n, dim) that takes `mask` (b, n), True = keep.

    Args:
        kind: of attention.
        options: of that kind, e.g. {"bucket_size": 32} of lsh.
        dropout: of the weights, where a kind has any: softmax, and knn in training.
        causal: whether tokens may see what is before them only.
        ordered: whether the tokens are a sequence; delta and multiresolution need one.
        qkv_bias: whether the maps to queries, keys and values have a bias, where a kind leaves it
            open: softmax, knn, multiresolution and spectral.

    Raises:
        ValueError: an unknown kind or option, or one that this model has no use for.
    """
    one_of("attention", kind, list(get_args(AttentionKind)))
    if causal and kind not in _CAUSAL:
        raise ValueError(
            f"attention is {kind!r}, which looks at all tokens at once, but this model must not "
            f"look ahead: choose {', '.join(_CAUSAL)}"
        )
    if kind == "delta" and not ordered:
        raise ValueError(
            "attention is 'delta', which reads tokens one after the other, but those of this model "
            "have no order"
        )
    if kind == "multiresolution" and not ordered:
        raise ValueError(
            "attention is 'multiresolution', which puts neighbours into one block, but the tokens "
            "of this model have no order"
        )
    build, reserved = _BUILDERS[kind]
    given = dict(options or {})
    _check_options(kind, given, build, reserved)
    own: dict[str, Any] = {"causal": causal, "dropout": dropout}
    own = {name: value for name, value in own.items() if name in reserved}
    if issubclass(build, (AdditiveAttention, DeltaAttention, LSHAttention)):
        return build(dim, heads, **own, **given)
    width = {"width": dim // max(heads, 1), "heads": heads} if kind == "spectral" else {}
    return SelfAttention(dim, heads, build(**width, **own, **given), qkv_bias=qkv_bias)


# kind -> its module, and the arguments that the model decides
_BUILDERS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "softmax": (Softmax, ("causal", "dropout")),
    "additive": (AdditiveAttention, ("dim", "heads")),
    "delta": (DeltaAttention, ("dim", "heads")),
    "knn": (NearestKeys, ("causal", "dropout")),
    "lsh": (LSHAttention, ("dim", "heads", "causal")),
    "multiresolution": (MultiResolution, ()),
    "spectral": (SpectralKernel, ("width", "heads")),
}


def _check_options(
    kind: str, given: dict[str, Any], build: Callable[..., Any], reserved: tuple[str, ...]
) -> None:
    known = [name for name in inspect.signature(build).parameters if name not in reserved]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"{kind} attention has no option {name!r}: {hint}")
