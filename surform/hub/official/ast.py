"""AST: YuanGongND/ast@31088be8a3f6.

A constructor is the official ASTModel's; `vit` ({"dim", "depth", "heads"}) stands for a size of its
own where model_size names none of the published ones. `pooling`, `norm_eps` and `head_eps` are not
official: other copies of the weights are run with other values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.ast_keys import OFFICIAL
from surform.hub.official.fixture import Fixture, Replay, System
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

# published sizes, by model_size
_SIZES: dict[str, Arguments] = {
    "tiny224": {"dim": 192, "heads": 3},
    "small224": {"dim": 384, "heads": 6},
    "base224": {"dim": 768, "heads": 12},
    "base384": {"dim": 768, "heads": 12},
}
_ADAPTING = "surform.audio.adapting:"
_PATCH = 16
_SPAN = (128, 1024)  # bins and frames of the published weights
_OURS = ("pooling", "norm_eps", "head_eps", "patch_size", "mlp_ratio", "head_norm")


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no network of AST: choose model")
    size = constructor.get("model_size", "base384")
    vit = constructor.get("vit", {})
    if not vit and size not in _SIZES:
        raise ValueError(f"model_size is {size!r}, but must be one of {', '.join(_SIZES)}")
    widths: Arguments = {"depth": 12, **_SIZES.get(size, {})}
    widths |= {name: vit[name] for name in ("dim", "depth", "heads") if name in vit}
    return "ast", {
        "num_classes": constructor.get("label_dim", 527),
        "mel_bins": constructor.get("input_fdim", 128),
        "frames": constructor.get("input_tdim", 1024),
        "stride": (constructor.get("fstride", 10), constructor.get("tstride", 10)),
        **{name: constructor[name] for name in _OURS if name in constructor},
        **widths,
    }


def _infer(state: State) -> Arguments:
    """All but strides and size, which are the published ones if their grid fits."""
    classes, dim = state["mlp_head.1.weight"].shape
    depth = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("v.blocks."))
    heads = {size["dim"]: size["heads"] for size in _SIZES.values()}.get(dim)
    places = state["v.pos_embed"].shape[1] - 2
    for stride in (10, 12, 14, 16):
        rows, columns = ((side - _PATCH) // stride + 1 for side in _SPAN)
        if rows * columns == places and heads is not None:
            strides = {"fstride": stride, "tstride": stride}
            vit = {"dim": dim, "depth": depth, "heads": heads}
            return {"label_dim": classes, **strides, "vit": vit}
    raise ValueError(
        f"the weights have {places} positions and width {dim}, which is no published AST of "
        f"{_SPAN[1]} frames: give the official constructor arguments"
    )


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    if type(net).__name__ != "AST":
        return None
    given = net.__dict__["arguments"]
    published = {"patch_size": (16, (16, 16)), "pooling": ("both",), "head_norm": (True,)}
    published |= {"mlp_ratio": (4.0,), "attention": ("softmax",)}
    for name, choices in published.items():
        value = tuple(given[name]) if isinstance(given[name], list) else given[name]
        if value not in choices:
            raise ValueError(f"the official AST has no {name}={given[name]!r}")
    fstride, tstride = net.patch.stride  # type: ignore[union-attr]
    return {
        "label_dim": given["num_classes"],
        "fstride": fstride,
        "tstride": tstride,
        "input_fdim": given["mel_bins"],
        "input_tdim": given["frames"],
        "norm_eps": given["norm_eps"],
        "head_eps": given["head_eps"],
        "vit": {name: given[name] for name in ("dim", "depth", "heads")},
    }


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    return {OFFICIAL.ours(key): value for key, value in state.items()}


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    return {OFFICIAL.official(key): value for key, value in state.items()}


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    mid = _watch(model)
    return Replay({"out": model(inputs["fbank"])}, inputs, model, mid=mid)


def _watch(model: nn.Module) -> State:
    """Record what the fixtures keep of the inside."""
    mid: State = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid[name] = out.detach()

        module.register_forward_hook(hook)

    keep("norm", model.get_submodule("norm"))
    for number, block in enumerate(model.get_submodule("blocks").children()):
        keep(f"block{number}_out", block)
        keep(f"block{number}_attn_out", block.get_submodule("attention"))
    embed = model.get_submodule("patch")
    embed.register_forward_hook(
        lambda _, __, out: mid.update(patch_embed=out.detach().flatten(2).transpose(1, 2))
    )
    return mid


def _replay_adapting(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """`in/pos_embed` of a square grid and `in/patch_weight` of colours for a spectrogram."""
    inputs, given = fixture.inputs(dtype), fixture.constructor
    _, ours = _arguments({"vit": {"dim": 1}, **given})
    sides, strides = (ours["mel_bins"], ours["frames"]), ours["stride"]
    rows, columns = ((side - _PATCH) // step + 1 for side, step in zip(sides, strides, strict=True))
    side = given["image_grid"]
    adapt, sum_colors = (import_object(_ADAPTING + n) for n in ("adapt_positions", "sum_colors"))
    outputs = {
        "pos_embed": adapt(inputs["pos_embed"], (side, side), (rows, columns)),
        "patch_weight": sum_colors(inputs["patch_weight"]),
    }
    return Replay(outputs, inputs, nn.Identity())


SYSTEM = System(
    name="ast",
    kinds={"model": _replay, "adapt_weights": _replay_adapting},
    arguments=_arguments,
    to_ours=_to_ours,
    to_official=_to_official,
    dropped={
        "v.head.*": "the head of the image model, which AST never uses",
        "v.head_dist.*": "the head of the image model, which AST never uses",
    },
    infer=_infer,
    surrogate="audio",
    modes=("eval", "init"),
    describe=_describe,
)
