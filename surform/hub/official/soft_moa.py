"""Adapters and mixtures of adapters on AST: umbertocappellazzo/PETL_AST@1fe23af5d2cf.

A constructor is the official arguments with `class` (AST_SoftMoA, AST_MoA or AST_adapter) and, in
`ast_config`, transformers' settings of the AST inside.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.ast_keys import hugging_face_entries
from surform.hub.official.entries import joined, split
from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.renaming import Renaming

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_DEFAULTS: Arguments = {  # of transformers' ASTConfig
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "patch_size": 16, "frequency_stride": 10, "time_stride": 10,
    "num_mel_bins": 128, "layer_norm_eps": 1e-12,
}  # fmt: skip
_MIXTURES = {"AST_SoftMoA": "soft", "AST_MoA": "dense", "AST_adapter": "none"}
_POOLINGS = {"ALL": "mean", "CLS": "class"}
_PLACES = {"MHSA": "attention", "FFN": "feed_forward"}
_ADAPTER = (  # official part -> ours, inside one adapter
    ("linear_downsample.", "down."),
    ("linear_upsample.", "up."),
    ("adapter_down.", "down."),
    ("adapter_up.", "up."),
    ("adapter_conv.", "conv."),
)
_SINGLE = (
    ("pwise_conv1.", "down."),
    ("pwise_conv2.", "up."),
    ("dwise_conv.", "conv."),
    ("bnorm.", "batch_norm."),
    ("lnorm.", "norm."),
)


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    mixture = _mixture(constructor)
    config = _DEFAULTS | constructor.get("ast_config", {})
    pooling = constructor.get("final_output", "ALL")
    if pooling not in _POOLINGS:
        raise ValueError(f"final_output is {pooling!r}, but must be ALL or CLS")
    width = config["hidden_size"]
    options = {
        "patch_size": config["patch_size"],
        "stride": (config["frequency_stride"], config["time_stride"]),
        "dim": width,
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "mlp_ratio": config["intermediate_size"] / width,
        "pooling": _POOLINGS[pooling],
        "norm_eps": config["layer_norm_eps"],
        "head_norm": False,
    }
    ours: Arguments = {
        "base": "ast",
        "options": options,
        "mixture": mixture,
        "at": _place(constructor),
        "reduction": constructor["reduction_rate"],
        "num_classes": constructor["num_classes"],
        "frames": constructor["max_length"],
        "mel_bins": config["num_mel_bins"],
        "legacy_zero": True,
    }
    if mixture == "none":
        ours["adapter"] = constructor["adapter_block"]
        ours["sequential"] = constructor["seq_or_par"] == "sequential"
        ours["add_input"] = constructor.get("apply_residual", False)
        ours["kernel_size"] = constructor.get("kernel_size") or 31
        return "adapted", ours
    ours["adapter"], ours["count"] = constructor["adapter_module"], constructor["num_adapters"]
    if mixture == "soft":
        ours["slots"] = constructor["num_slots"]
        ours["normalize"] = "official" if constructor.get("normalize", False) else "no"
    return "adapted", ours


def _mixture(constructor: Arguments) -> str:
    kind = constructor["class"]
    if kind not in _MIXTURES:
        raise ValueError(f"class is {kind!r}, but must be one of {', '.join(_MIXTURES)}")
    return _MIXTURES[kind]


def _place(constructor: Arguments) -> str:
    """Where adapters are; single ones of Pfeiffer's kind are at the feed-forward block."""
    kind = constructor["adapter_type"]
    if kind == "Houlsby":
        return "both"
    if kind != "Pfeiffer":
        raise ValueError(f"adapter_type is {kind!r}, but must be Pfeiffer or Houlsby")
    if _mixture(constructor) == "none":
        return "feed_forward"
    location = constructor.get("location", "MHSA")
    if location not in _PLACES:
        raise ValueError(f"location is {location!r}, but must be MHSA or FFN")
    return _PLACES[location]


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours; keys that no rule knows keep their names."""
    names, found = _names(constructor), joined(state, _entries(constructor))
    known = {key for entry in _entries(constructor) for key in entry.official}
    for key, value in state.items():
        if key not in known:
            pointwise = re.search(r"pwise_conv\d\.weight$", key)
            found[names.ours(key)] = value[..., 0] if pointwise else value
    return found


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients under our names) -> the official one."""
    names, found = _names(constructor), split(state, _entries(constructor))
    known = {entry.ours for entry in _entries(constructor)}
    for key, value in state.items():
        if key not in known:
            official = names.official(key)
            pointwise = re.search(r"pwise_conv\d\.weight$", official)
            found[official] = value[..., None] if pointwise else value
    return found


def _entries(constructor: Arguments) -> Any:
    config = _DEFAULTS | constructor.get("ast_config", {})
    return list(hugging_face_entries(config["num_hidden_layers"], "net."))


def _names(constructor: Arguments) -> Renaming:
    """Names of adapters, which depend on where they are, and of the head."""
    mixture, place = _mixture(constructor), _place(constructor)
    layer, ours = "encoder.layer.#.", "adapters.#."
    pairs: list[tuple[str, str]] = []
    for branch, end in (("attention", "mhsa"), ("feed_forward", "ffn")):
        if place not in (branch, "both"):
            continue
        if mixture == "none":
            start, mine = f"{layer}adapter_module_{end.upper()}.", f"{ours}{branch}."
            parts = _SINGLE if constructor["adapter_block"] == "conformer" else _parts(constructor)
            pairs += [(start + a, mine + b) for a, b in parts]
            continue
        suffix = f"_{end}" if place == "both" else ""
        moa, mine = f"{layer}moa{suffix}.", f"{ours}{branch}."
        pairs += [(f"{moa}moa.#.{a}", f"{mine}adapters.#.{b}") for a, b in _parts(constructor)]
        pairs += [(f"{moa}slot_params", f"{mine}slots"), (f"{moa}scale", f"{mine}scale")]
        pairs += [(f"{layer}router{suffix}.ff.", f"{mine}router.")]
    return Renaming([*pairs, ("classification_head.", "net.head.")])


def _parts(constructor: Arguments) -> tuple[tuple[str, str], ...]:
    kind = constructor.get("adapter_module", constructor.get("adapter_block"))
    return _ADAPTER[:2] if kind == "bottleneck" else _ADAPTER[2:]


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    mid: State = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid[name] = out.detach()

        module.register_forward_hook(hook)

    keep("layer0_out", model.get_submodule("net.blocks.0"))
    model.requires_grad_(True)  # the record has gradients of all weights
    outputs = {"out": model(inputs["fbank"])}
    mid = {name: value for name, value in mid.items() if f"mid/{name}" in fixture.tensors}
    return Replay(outputs, inputs, model, mid=mid)


SYSTEM = System(
    name="soft_moa",
    kinds={"model": _replay},
    arguments=_arguments,
    to_ours=_to_ours,
    to_official=_to_official,
    dropped={"model.*": "the official state dict repeats the encoder under this name"},
    surrogate="audio",
    modes=("eval",),
)
