"""iTransformer and its variant iFlowformer: thuml/iTransformer@c2426e68ca13.

A constructor is {"cls": "iTransformer.Model" or "iFlowformer.Model", "configs": {...}} as in the
fixtures, or the configs alone. Missing ones take the official defaults. A checkpoint does not tell
its number of heads, its activation, its normalisation or its class.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_DEFAULTS: Arguments = {
    "seq_len": 96,
    "pred_len": 96,
    "d_model": 512,
    "n_heads": 8,
    "e_layers": 2,
    "d_ff": 2048,
    "dropout": 0.1,
    "activation": "gelu",
    "use_norm": True,
}
_ATTENTION = {"iTransformer": "softmax", "iFlowformer": "flow"}

_PREFIXES = (
    ("enc_embedding.value_embedding.", "embedding."),
    ("encoder.attn_layers.", "layers."),
    ("encoder.norm.", "norm."),
    ("projector.", "head."),
)
_IN_LAYER = (
    ("attention.out_projection.", "attention.out."),
    ("conv1.", "feed_forward.up."),
    ("conv2.", "feed_forward.down."),
)
_PARTS = ("query", "key", "value")
_OFFICIAL_PART = re.compile(r"attention\.(query|key|value)_projection\.(weight|bias)$")
_FUSED = re.compile(r"attention\.qkv\.(weight|bias)$")
_CONVOLUTION = re.compile(r"\.conv[12]\.weight$")


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no iTransformer: choose model")
    given = _DEFAULTS | dict(constructor.get("configs", constructor))
    name = str(constructor.get("cls", "iTransformer")).removesuffix(".Model").rpartition(".")[2]
    if name not in _ATTENTION:
        raise ValueError(f"cls is {name!r}, but must be one of {', '.join(_ATTENTION)}")
    flow = name == "iFlowformer"
    return "itransformer", {
        "lookback": given["seq_len"],
        "horizon": given["pred_len"],
        "dim": given["d_model"],
        "depth": given["e_layers"],
        "heads": given["n_heads"],
        "mlp_ratio": (given["d_ff"] or 4 * given["d_model"]) / given["d_model"],
        "dropout": given["dropout"],
        "activation": "relu" if given["activation"] == "relu" else "gelu",
        "normalize": flow or bool(given["use_norm"]),  # iFlowformer has no switch
        "attention": _ATTENTION[name],
    }


def _infer(state: State) -> Arguments:
    """Never enough: heads, activation, normalisation and class leave no trace in the weights."""
    d_model, seq_len = state["enc_embedding.value_embedding.weight"].shape
    numbers = [int(key.split(".")[2]) for key in state if key.startswith("encoder.attn_layers.")]
    found: Arguments = {
        "seq_len": seq_len,
        "pred_len": len(state["projector.weight"]),
        "d_model": d_model,
        "e_layers": 1 + max(numbers, default=-1),
        "d_ff": len(state["encoder.attn_layers.0.conv1.weight"]),
    }
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"an iTransformer's weights tell {read}, but not its n_heads, activation, use_norm and "
        "cls: give the official constructor arguments"
    )


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    ours, parts = {}, {}
    for key, value in state.items():
        found = _OFFICIAL_PART.search(key)
        if found:
            parts.setdefault(key[: found.start()] + found[2], {})[found[1]] = value
            continue
        ours[_renamed(key, 0)] = value.squeeze(-1) if _CONVOLUTION.search(key) else value
    for name, found in parts.items():
        prefix, _, kind = name.rpartition(".")
        key = f"{_renamed(f'{prefix}.', 0)}attention.qkv.{kind}"
        ours[key] = torch.cat([found[part] for part in _PARTS])
    return ours


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    official = {}
    for name, value in state.items():
        found = _FUSED.search(name)
        if found:
            prefix = _renamed(name[: found.start()], 1)
            for part, chunk in zip(_PARTS, value.chunk(3), strict=True):
                official[f"{prefix}attention.{part}_projection.{found[1]}"] = chunk
            continue
        key = _renamed(name, 1)
        official[key] = value.unsqueeze(-1) if _CONVOLUTION.search(key) else value
    return official


def _renamed(key: str, source: int) -> str:
    for table in (_PREFIXES, _IN_LAYER):
        for pair in table:
            pattern, target = pair[source], pair[1 - source]
            if key.startswith(pattern) if table is _PREFIXES else f".{pattern}" in key:
                key = key.replace(pattern, target, 1)
                break
    return key


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """The decoder's inputs, `x_dec` and `x_mark_dec`, are never read."""
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    mid = _watch(model)
    call = {"past_marks": inputs.get("x_mark_enc")}
    outputs: State = {"y": model(inputs["x_enc"], **call)}
    if any(name.startswith("attn.") for name in fixture.named("out")):
        _, maps = model.forward_with_attention(inputs["x_enc"], **call)  # type: ignore[operator]
        outputs |= {f"attn.{i}": weights for i, weights in enumerate(maps)}
    return Replay(outputs, inputs, model, loss=_loss(fixture, outputs, dtype), mid=mid)


def _loss(fixture: Fixture, outputs: State, dtype: torch.dtype) -> Tensor | None:
    """Maps count only with a cotangent of their own: `in/cot` is the forecast's."""
    terms = []
    for name, value in outputs.items():
        if name == "y" or f"in/cot_{name}" in fixture.tensors:
            cotangent = fixture.cotangent(name, dtype)
            if cotangent is not None:
                terms.append((value * cotangent).sum())
    return torch.stack(terms).sum() if terms else None


def _watch(model: nn.Module) -> State:
    """Record what the fixtures keep of the inside."""
    mid: State = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid.setdefault(name, out.detach())

        module.register_forward_hook(hook)

    keep("embedding", model.get_submodule("dropout"))
    keep("encoder", model.get_submodule("norm"))
    for i, layer in enumerate(model.get_submodule("layers").children()):
        keep(f"enc{i}", layer)
        keep(f"attn{i}", layer.get_submodule("attention"))
    return mid


SYSTEM = System(
    name="itransformer",
    kinds={"model": _replay},
    arguments=_arguments,
    to_ours=_to_ours,
    to_official=_to_official,
    infer=_infer,
    surrogate="series",
    noise=("dropout",),
)
