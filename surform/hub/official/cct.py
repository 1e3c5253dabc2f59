"""Compact transformers: SHI-Labs/Compact-Transformers@cd11f0912749; also vit-pytorch's CCT.

A constructor is {"class": "CCT", "CVT" or "ViTLite", ...} with the official arguments, or
{"name": "cct_7_3x1_32", ...} with a published name and what differs from it. vit-pytorch has the
same keys, and its constructor's words for the rates are understood. Heads leave no trace in the
weights: a bare checkpoint is taken for the published size that it has.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.cct_names import heads_of, official_arguments
from surform.hub.official.fixture import Fixture, Replay, System
from surform.layers.position_grid import resize_positions
from surform.layers.sinusoid import rounded_sinusoid

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_MODELS = {"CCT": "cct", "CVT": "cvt", "ViTLite": "vit_lite"}
# official argument -> ours, and the official default
_COMMON: dict[str, tuple[str, Any]] = {
    "img_size": ("image_size", 224),
    "n_input_channels": ("in_channels", 3),
    "num_classes": ("num_classes", 1000),
    "embedding_dim": ("dim", 768),
    "num_layers": ("depth", 14),
    "num_heads": ("heads", 6),
    "mlp_ratio": ("mlp_ratio", 4.0),
    "positional_embedding": ("positions", "learnable"),
    "dropout": ("dropout", 0.0),
    "attention_dropout": ("attention_dropout", 0.1),
    "stochastic_depth": ("drop_path", 0.1),
}
_CONVOLUTIONAL: dict[str, tuple[str, Any]] = {
    "n_conv_layers": ("conv_layers", 1),
    "kernel_size": ("kernel_size", 7),
    "stride": ("stride", 2),
    "padding": ("padding", 3),
    "pooling_kernel_size": ("pool_size", 3),
    "pooling_stride": ("pool_stride", 2),
    "pooling_padding": ("pool_padding", 1),
    "legacy_sine": ("legacy_sine", False),
}
_PATCHES: dict[str, tuple[str, Any]] = {"kernel_size": ("patch_size", 16)}
_TABLES = {
    "CCT": _COMMON | _CONVOLUTIONAL,
    "CVT": _COMMON | _PATCHES | {"legacy_sine": ("legacy_sine", False)},
    "ViTLite": _COMMON | _PATCHES,
}
_VIT_PYTORCH = {"num_layers": 12, "num_heads": 12, "positional_embedding": "sine"}  # defaults
_ALIASES = {"dropout_rate": "dropout", "stochastic_depth_rate": "stochastic_depth"}
# swallowed by the official constructors without effect
_IGNORED = ("drop_rate", "drop_path_rate", "drop_block_rate", "in_chans", "pretrained", "progress")

# official pattern -> ours, and back
_RENAMES = (
    (r"tokenizer\.conv_layers\.(\d+)\.0\.", r"tokenizer.layers.\1."),
    (r"classifier\.positional_emb$", "encoder.positions"),
    (r"classifier\.class_emb$", "encoder.class_token"),
    (r"classifier\.attention_pool\.weight$", "encoder.pool"),
    (r"classifier\.attention_pool\.bias$", "encoder.pool_bias"),
    (r"classifier\.fc\.", "encoder.head."),
    (r"(classifier\.blocks\.\d+\.)norm1\.", r"\1norm."),
    (r"(classifier\.blocks\.\d+\.)self_attn\.qkv\.", r"\1attention.qkv."),
    (r"(classifier\.blocks\.\d+\.)self_attn\.proj\.", r"\1attention.out."),
    (r"(classifier\.blocks\.\d+\.)linear1\.", r"\1feed_forward.up."),
    (r"(classifier\.blocks\.\d+\.)linear2\.", r"\1feed_forward.down."),
    (r"classifier\.", "encoder."),
)
_BACK = (
    (r"tokenizer\.layers\.(\d+)\.", r"tokenizer.conv_layers.\1.0."),
    (r"encoder\.positions$", "classifier.positional_emb"),
    (r"encoder\.class_token$", "classifier.class_emb"),
    (r"encoder\.pool$", "classifier.attention_pool.weight"),
    (r"encoder\.pool_bias$", "classifier.attention_pool.bias"),
    (r"encoder\.head\.", "classifier.fc."),
    (r"(encoder\.blocks\.\d+\.)norm\.", r"\1norm1."),
    (r"(encoder\.blocks\.\d+\.)attention\.qkv\.", r"\1self_attn.qkv."),
    (r"(encoder\.blocks\.\d+\.)attention\.out\.", r"\1self_attn.proj."),
    (r"(encoder\.blocks\.\d+\.)feed_forward\.up\.", r"\1linear1."),
    (r"(encoder\.blocks\.\d+\.)feed_forward\.down\.", r"\1linear2."),
    (r"encoder\.", "classifier."),
)


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no compact transformer: choose model")
    given = _named(constructor)
    package, _, cls = str(given.pop("class", "CCT")).rpartition(".")
    if package.startswith("vit_pytorch"):
        given = _VIT_PYTORCH | given
    if cls not in _MODELS:
        raise ValueError(f"class is {cls!r}, but must be one of {', '.join(_MODELS)}")
    table = _TABLES[cls]
    unknown = [name for name in given if name not in table]
    if unknown:
        near = difflib.get_close_matches(unknown[0], table, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"the official {cls} has no argument {unknown[0]!r}{hint}")
    return _MODELS[cls], {ours: given.get(name, default) for name, (ours, default) in table.items()}


def _named(constructor: Arguments) -> Arguments:
    """The arguments with those of a published name filled in, other packages' words translated."""
    given = {_ALIASES.get(k, k): v for k, v in constructor.items() if k not in _IGNORED}
    name = given.pop("name", None)
    return given if name is None else official_arguments(str(name)) | given


def _infer(state: State) -> Arguments:
    """Official arguments of a bare state dict of a published size."""
    weight = state["tokenizer.conv_layers.0.0.weight"]
    dim, ratio = _width(state)
    layers = 1 + max(_numbers(state, "classifier.blocks."))
    heads = heads_of(layers, ratio, dim)
    if heads is None:
        raise ValueError(
            f"the weights are those of a compact transformer of {layers} layers, width {dim} and "
            f"mlp_ratio {ratio:g}, which is no published size, and do not tell its number of "
            "heads: give the official constructor arguments"
        )
    kernel, convolutions = weight.shape[-1], 1 + max(_numbers(state, "tokenizer.conv_layers."))
    cls = "CCT" if "tokenizer.conv_layers.0.0.bias" not in state else "CVT"
    cls = "ViTLite" if "classifier.class_emb" in state else cls
    found: Arguments = {
        "class": cls,
        "n_input_channels": weight.shape[1],
        "num_classes": len(state["classifier.fc.weight"]),
        "embedding_dim": dim,
        "num_layers": layers,
        "num_heads": heads,
        "mlp_ratio": ratio,
        "kernel_size": kernel,
        "positional_embedding": _kind_of_positions(state),
    }
    stride = kernel
    if cls == "CCT":
        stride = (2 * max(1, kernel // 2 - 1)) ** convolutions
        found |= {"n_conv_layers": convolutions, "padding": max(1, kernel // 2)}
        found["stride"] = max(1, kernel // 2 - 1)
    return found | {"img_size": stride * _side(state)}


def _width(state: State) -> tuple[int, float]:
    hidden, dim = state["classifier.blocks.0.linear1.weight"].shape
    return dim, hidden / dim


def _side(state: State) -> int:
    """Tokens along a side of the square grid; any will do where there are no positions."""
    table = state.get("classifier.positional_emb")
    count = 64 if table is None else table.shape[1] - ("classifier.class_emb" in state)
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f"{count} positions form no square: give the official constructor's")
    return side


def _kind_of_positions(state: State) -> str:
    table = state.get("classifier.positional_emb")
    if table is None:
        return "none"
    sine = rounded_sinusoid(*table.shape[1:]).to(table.dtype)
    return "sine" if torch.allclose(table[0], sine, rtol=0, atol=1e-4) else "learnable"


def _numbers(state: State, prefix: str) -> list[int]:
    return [int(k.removeprefix(prefix).split(".")[0]) for k in state if k.startswith(prefix)]


def _complete(constructor: Arguments, state: State) -> Arguments:
    """With the number of classes that the weights have."""
    head = state.get("classifier.fc.weight")
    return constructor if head is None else constructor | {"num_classes": len(head)}


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    given = net.__dict__["arguments"]
    cls = next((c for c in _MODELS if type(net).__name__ == c), None)
    if cls is None:
        return None
    if given["attention"] != "softmax":
        raise ValueError(f"the official {cls} has no attention={given['attention']!r}")
    found = {official: given[ours] for official, (ours, _) in _TABLES[cls].items()}
    size, kernel = found["img_size"], given.get("kernel_size", 0)
    if not isinstance(size, int):
        if len(set(size)) > 1:
            raise ValueError(
                f"the official code takes square images only, but image_size is {tuple(size)}"
            )
        found["img_size"] = size[0]
    if cls == "CCT":
        found["stride"] = given["stride"] or max(1, kernel // 2 - 1)
        found["padding"] = kernel // 2 or 1 if given["padding"] is None else given["padding"]
    if found.pop("legacy_sine", False) and found["positional_embedding"] == "sine":
        found["positional_embedding"] = "learnable"
    return {"class": cls} | found


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    return {_renamed(key, _RENAMES): value for key, value in state.items()}


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    return {_renamed(key, _BACK): value for key, value in state.items()}


def _renamed(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, target in table:
        key = re.sub(f"^{pattern}", target, key)
    return key


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    mid = _watch(model)
    return Replay({"out": model(inputs["img"])}, inputs, model, mid=mid)


def _watch(model: nn.Module) -> State:
    """Record what the fixtures keep of the inside."""
    mid: State = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid[name] = out.detach()

        module.register_forward_hook(hook)

    keep("tokens", model.get_submodule("tokenizer"))
    keep("final_norm", model.get_submodule("encoder.norm"))
    for i, block in enumerate(model.get_submodule("encoder.blocks").children()):
        keep(f"block{i}_out", block)
        keep(f"block{i}_attn_out", block.get_submodule("attention"))
    return mid


_SIZED = re.compile(r"(.+)_(\d+)x(\d+)")


def _replay_resize(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """`in/<name>_<h>x<w>` carried over to the grid of `out/<name>_<h>x<w>`; `out/sine_<n>x<d>`."""
    inputs, outputs = fixture.inputs(dtype), {}
    sources = {
        found[1]: (found, inputs[found[0]]) for found in map(_SIZED.fullmatch, inputs) if found
    }
    for found in filter(None, map(_SIZED.fullmatch, fixture.named("out"))):
        name, size = found[1], (int(found[2]), int(found[3]))
        if name in sources:
            source, table = sources[name]
            grid = int(source[2]), int(source[3])
            outputs[found[0]] = resize_positions(table, grid, size, mode="bilinear")
        elif name == "sine":
            outputs[found[0]] = rounded_sinusoid(*size)[None].to(dtype)
    return Replay(outputs, inputs, nn.Identity())


SYSTEM = System(
    name="cct",
    kinds={"model": _replay, "pos_embed_resize": _replay_resize},
    arguments=_arguments,
    to_ours=_to_ours,
    to_official=_to_official,
    infer=_infer,
    surrogate="images",
    noise=("dropout", "attention_dropout", "drop_path"),
    complete=_complete,
    describe=_describe,
)
