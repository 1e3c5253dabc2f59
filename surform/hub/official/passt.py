"""PaSST: kkoutini/PaSST@2a5c818afcc2. A constructor is the official PaSST's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.passt_keys import OFFICIAL
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

# official argument -> ours, and the official default
_SAME: dict[str, tuple[str, Any]] = {
    "num_classes": ("num_classes", 527),
    "embed_dim": ("dim", 768),
    "depth": ("depth", 12),
    "num_heads": ("heads", 12),
    "mlp_ratio": ("mlp_ratio", 4.0),
    "distilled": ("distilled", False),
    "u_patchout": ("patchout", 0),
    "s_patchout_t": ("patchout_time", 0),
    "s_patchout_f": ("patchout_frequency", 0),
    "drop_rate": ("dropout", 0.0),
    "attn_drop_rate": ("attention_dropout", 0.0),
    "drop_path_rate": ("drop_path", 0.0),
}
_HEADS = {192: 3, 384: 6, 768: 12}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if constructor.get("in_chans", 1) != 1:
        raise ValueError(f"in_chans is {constructor['in_chans']}, but spectrograms have 1 channel")
    if not constructor.get("qkv_bias", True):
        raise ValueError("qkv_bias is False, which no published PaSST has")
    mel_bins, frames = _pair(constructor.get("img_size", (128, 998)))
    stride = _pair(constructor.get("stride", 16))
    patch = _pair(constructor.get("patch_size", 16))
    distilled = constructor.get("distilled", False)
    rows = (mel_bins - patch[0]) // stride[0] + 1
    if mel_bins // stride[0] != rows:
        raise ValueError(
            f"stride {stride[0]} gives {rows} rows of patches, but the official table of "
            f"{mel_bins} bins has {mel_bins // stride[0]}: the official network does not run"
        )
    return "passt", {
        "mel_bins": mel_bins,
        "frames": frames,
        "patch_size": patch,
        "stride": stride,
        # tables of the official code are as long as frames // stride
        "time_positions": frames // stride[1],
        "cut_long": True,
        "representation_size": 0 if distilled else constructor.get("representation_size") or 0,
        **{ours: constructor.get(name, default) for name, (ours, default) in _SAME.items()},
    }


def _pair(value: Any) -> tuple[int, int]:
    """(along frequency, along time)."""
    first, second = (value, value) if isinstance(value, int) else value
    return first, second


def _infer(state: State) -> Arguments:
    """All but strides, which are the published ones if they fit the tables; heads by width."""
    dim, _, *patch = state["patch_embed.proj.weight"].shape
    rows, columns = state["freq_new_pos_embed"].shape[2], state["time_new_pos_embed"].shape[3]
    stride = {12: 10, 8: 16}.get(rows)
    if dim not in _HEADS or stride is None or patch != [16, 16]:
        raise ValueError(
            f"the weights have width {dim} and {rows} rows of positions, which is no published "
            "PaSST: give the official constructor arguments"
        )
    layers = [int(key.split(".")[1]) for key in state if key.startswith("blocks.")]
    return {
        "num_classes": len(state["head.1.weight"]),
        "embed_dim": dim,
        "depth": 1 + max(layers),
        "num_heads": _HEADS[dim],
        "distilled": "dist_token" in state,
        "stride": [stride, stride],
        "img_size": [128, columns * stride + (8 if stride == 10 else 0)],
    }


def _describe(net: nn.Module) -> Arguments | None:
    """The official constructor's arguments for one of our networks."""
    if type(net).__name__ != "PaSST":
        return None
    given = net.__dict__["arguments"]
    stride, patch = _pair(given["stride"]), _pair(given["patch_size"])
    entries = net.time_positions.shape[3]  # type: ignore[union-attr]
    frames = given["frames"]
    if frames // stride[1] != entries:
        frames = entries * stride[1]  # the official table is as long as frames // stride
    found = {name: given[ours] for name, (ours, _) in _SAME.items()}
    found |= {"img_size": [given["mel_bins"], frames], "stride": list(stride)}
    found |= {"patch_size": list(patch), "in_chans": 1, "qkv_bias": True}
    found["representation_size"] = given["representation_size"] or None
    _arguments(found)  # ValueError where the official network would not run
    return found


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    return {OFFICIAL.ours(key): value for key, value in state.items()}


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    return {OFFICIAL.official(key): value for key, value in state.items()}


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    mid = _watch(model)
    kept = _recorded(model, inputs) if fixture.kind == "patchout_train" else None
    found = model.features(inputs["spec"][:, 0].transpose(1, 2), kept)
    logits = model.head(model.head_norm(found))
    mid = {name: value for name, value in mid.items() if f"mid/{name}" in fixture.tensors}
    return Replay({"out": torch.cat((logits, found), 1)}, inputs, model, mid=mid)


def _recorded(model: Any, inputs: State) -> Any:
    """The draws of a fixture: sorted beginnings of the recorded permutations."""

    def first(name: str, left_out: int) -> Tensor | None:
        if name not in inputs:
            return None
        whole = inputs[name]
        return whole[: len(whole) - left_out].sort().values

    start = int(inputs["time_offset"]) if "time_offset" in inputs else 0
    return import_object("surform.audio.patchout:Kept")(
        start,
        rows=first("freq_perm", model.patchout_frequency),
        columns=first("time_perm", model.patchout_time),
        tokens=first("token_perm", model.patchout),
    )


def _watch(model: Any) -> State:
    mid: State = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid[name] = out.detach()

        module.register_forward_hook(hook)

    keep("norm", model.norm)
    for number, block in enumerate(model.blocks):
        keep(f"block{number}_out", block)
        keep(f"block{number}_attn_out", block.attention)
    return mid


SYSTEM = System(
    name="passt",
    kinds={"model": _replay, "patchout_train": _replay},
    arguments=_arguments,
    to_ours=_to_ours,
    to_official=_to_official,
    dropped={"head_dist.*": "the official network never uses it"},
    infer=_infer,
    surrogate="audio",
    describe=_describe,
    noise=("dropout", "attention_dropout", "drop_path"),
)
