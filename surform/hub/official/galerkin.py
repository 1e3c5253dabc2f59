"""Galerkin Transformer: scaomath/galerkin-transformer@f9e7d6abc24e.

`burgers1d` is its SimpleTransformer, `darcy2d` its FourierTransformer2D.

Official habits that the fixtures need and that our constructors do not share:
the 1-D model ignores norm_eps and always decodes pointwise with two layers; the 2-D model ignores
norm_type, residual_type and attn_activation; attention_type "linear" and "softmax" force the
encoder's dropout to 0.1; a norm is forced when both are switched off; "global" is computed as
"linear" (with softmaxes), "integral" and "local" as "fourier".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.galerkin_keys import to_official, to_ours
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
_ATTENTION = {
    "galerkin": "galerkin",
    "linear": "linear",
    "global": "linear",
    "fourier": "fourier",
    "integral": "fourier",
    "local": "fourier",
    "softmax": "softmax",
}
_KINDS_1D = ("galerkin", "linear", "fourier", "integral", "softmax")
_ONLY_2D = ("downscaler_size", "upscaler_size", "boundary_condition", "downsample_mode")


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments); ValueError for what we lack."""
    if kind is None:
        square = constructor.get("decoder_type") == "ifft2" or constructor.get("pos_dim") == 2
        kind = "darcy2d" if square or any(k in constructor for k in _ONLY_2D) else "burgers1d"
    if kind == "burgers1d":
        return "galerkin1d", _arguments_1d(constructor)
    if kind == "darcy2d":
        return "galerkin2d", _arguments_2d(constructor)
    raise ValueError(f"kind {kind!r} is no model of its own: choose burgers1d or darcy2d")


def _arguments_1d(given: Arguments) -> Arguments:
    spectral = _decoder(given, "ifft")
    position_channels = _position_channels(given)
    axes = _or(given, "spacial_dim", position_channels)
    if spectral and axes != 1:
        raise ValueError(f"decoder_type 'ifft' with spacial_dim {axes} is not supported, only 1")
    return _common(given, _KINDS_1D) | {
        "head_norm": _head_norm(given, given.get("norm_type") or "layer"),
        "norm_eps": 1e-5,
        "residual": "add" if given.get("residual_type") in ("add", "plus", None) else "minus",
        "activation": _named(given.get("attn_activation"), ("silu", "gelu")),
        "skip_encoder": bool(given.get("spacial_residual")),
        "position_channels": position_channels,
        "decoder": "spectral" if spectral else "pointwise",
        "decoder_depth": _or(given, "num_regressor_layers", 2) if spectral else 2,
        "grid_channels": axes if given.get("spacial_fc") else 0,
        "last_activation": True,
    }


def _arguments_2d(given: Arguments) -> Arguments:
    spectral = _decoder(given, "ifft2")
    down, up = given.get("downscaler_size"), given.get("upscaler_size")
    down_mode, up_mode = given.get("downsample_mode"), given.get("upsample_mode")
    return _common(given, tuple(_ATTENTION)) | {
        "head_norm": _head_norm(given, "layer"),
        "norm_eps": _or(given, "norm_eps", 1e-5),
        "position_channels": _position_channels(given),
        "downscaler": _scaler("downsample_mode", down_mode) if down else "none",
        "upscaler": _scaler("upsample_mode", up_mode) if up else "none",
        "coarse_size": None,
        "down_sizes": _sizes(down) if down_mode == "interp" else None,
        "up_sizes": _sizes(up) if up_mode == "interp" else None,
        "downscaler_activation": _silu_or_relu(given.get("downscaler_activation")),
        "upscaler_activation": _silu_or_relu(
            given.get("upscaler_activation"), "silu" if up_mode == "interp" else "relu"
        ),
        "downscaler_dropout": _or(given, "downscaler_dropout", 0.1),
        "upscaler_dropout": _or(given, "upscaler_dropout", 0.1),
        "decoder": "spectral" if spectral else "pointwise",
        "decoder_depth": _or(given, "num_regressor_layers", 2),
        "grid_channels": 2 if given.get("spacial_fc") else 0,
        "last_activation": bool(given.get("last_activation")),
        "boundary": "dirichlet" if given.get("boundary_condition") == "dirichlet" else "free",
    }


def _common(given: Arguments, kinds: tuple[str, ...]) -> Arguments:
    kind = given["attention_type"]
    if kind not in kinds:
        raise ValueError(f"attention_type {kind!r} is not supported: choose {', '.join(kinds)}")
    if given.get("num_feat_layers") and given.get("feat_extract_type") in ("gcn", "gat"):
        raise ValueError(f"feat_extract_type {given['feat_extract_type']!r} is not supported")
    if given.get("n_freq_targets"):
        raise ValueError("n_freq_targets > 0 (a second regressor) is not supported")
    dim = given["n_hidden"]
    encoder_dropout = 0.1 if kind in ("linear", "softmax") else _or(given, "encoder_dropout", 0.05)
    spectral = given["decoder_type"] != "pointwise"
    activation = given.get("regressor_activation")
    return {
        "in_channels": given["node_feats"],
        "out_channels": given["n_targets"],
        "dim": dim,
        "depth": given["num_encoder_layers"],
        "heads": given["n_head"],
        "mlp_ratio": _or(given, "dim_feedforward", 2 * dim) / dim,
        "attention": _ATTENTION[kind],
        "layer_norm": bool(given.get("layer_norm")),
        "batch_norm": bool(given.get("batch_norm")),
        "decoder_dim": _or(given, "freq_dim", dim),
        "modes": _or(given, "fourier_modes", 1),
        "decoder_activation": _silu_or_relu(activation, "silu" if spectral else "relu"),
        "dropout": _or(given, "dropout", 0.05),
        "encoder_dropout": encoder_dropout,
        "ffn_dropout": _or(given, "ffn_dropout", encoder_dropout),
        "decoder_dropout": _or(given, "decoder_dropout", 0.1),
        "init_gain": _or(given, "xavier_init", 1e-2),
        "init_diagonal": _or(given, "diagonal_weight", 1e-2),
        "symmetric_init": bool(given.get("symmetric_init")),
    }


def _decoder(given: Arguments, spectral: str) -> bool:
    kind = given["decoder_type"]
    if kind not in (spectral, "pointwise"):
        raise ValueError(f"decoder_type {kind!r} is not supported: choose {spectral} or pointwise")
    return kind == spectral


def _head_norm(given: Arguments, norm_type: str) -> str | None:
    layer_norm = bool(given.get("layer_norm"))
    wanted = _or(given, "attn_norm", not layer_norm)
    return norm_type if wanted or not layer_norm else None


def _position_channels(given: Arguments) -> int:
    return max(given["pos_dim"], 0)


def _scaler(name: str, mode: str | None) -> str:
    modes = {"interp": "interp", "conv": "conv", "deconv": "conv"}
    if mode not in modes:
        raise ValueError(f"{name} {mode!r} is not supported: choose interp or conv")
    return modes[mode]


def _sizes(value: Any) -> Any:
    """JSON's lists as tuples; None when there is nothing."""
    if isinstance(value, (list, tuple)):
        return tuple(_sizes(item) for item in value)
    return value or None


def _named(value: str | None, names: tuple[str, ...], otherwise: str = "relu") -> str:
    return value if value in names else otherwise


def _silu_or_relu(value: str | None, default: str = "silu") -> str:
    return default if value is None else _named(value, ("silu",))


def _or(given: Arguments, name: str, default: Any) -> Any:
    """The official `default()`: None counts as not given."""
    value = given.get(name)
    return default if value is None else value


def _replay(fixture: Fixture, dtype: torch.dtype) -> Replay:
    inputs = fixture.inputs(dtype)
    model = _build(fixture, dtype, "pos" in inputs)
    mid = _watch(model)
    # Only the 2-D model knows boundary values.
    boundary = {k: v for k, v in inputs.items() if k == "boundary_value"}
    preds = model(
        inputs["node"],
        positions=inputs.get("pos"),
        grid=inputs.get("grid"),
        weight=inputs.get("weight"),
        score_masks=_score_masks(inputs, model),
        denormalize=_denormalizer(inputs),
        **boundary,
    )
    return Replay(outputs={"preds": preds}, inputs=inputs, model=model, mid=mid)


def _replay_scalers(fixture: Fixture, dtype: torch.dtype) -> Replay:
    inputs = fixture.inputs(dtype)
    parts = nn.ModuleDict()
    for name, build in (("down", _downscaler), ("up", _upscaler)):
        if f"x_{name}" in inputs:
            parts[name] = build(fixture.constructor[name])
    parts.to(dtype).train(fixture.mode == "train")
    parts.load_state_dict(to_ours(fixture.parameters(dtype), fixture.constructor))
    outputs = {name: part(inputs[f"x_{name}"]) for name, part in parts.items()}
    return Replay(outputs=outputs, inputs=inputs, model=parts)


def _downscaler(given: Arguments) -> nn.Module:
    mode = _scaler("downsample_mode", given.get("downsample_mode", "conv"))
    activation = _silu_or_relu(given.get("activation_type", "silu"))
    if mode == "conv":
        return _scaler_class("ConvDownscaler")(
            given["in_dim"],
            given["out_dim"],
            padding=given.get("padding", 5),
            activation=activation,
        )
    return _scaler_class("InterpDownscaler")(
        given["in_dim"],
        given["out_dim"],
        sizes=_sizes(given["interp_size"]),
        activation=activation,
        dropout=given.get("dropout", 0.1),
    )


def _upscaler(given: Arguments) -> nn.Module:
    mode = _scaler("upsample_mode", given.get("upsample_mode", "conv"))
    activation = given.get("activation_type", "silu")
    if mode == "conv":
        return _scaler_class("ConvUpscaler")(
            given["in_dim"],
            given["out_dim"],
            hidden=given.get("hidden_dim"),
            padding=given.get("padding", 2),
            output_padding=given.get("output_padding", 0),
            activation=_silu_or_relu(activation, "relu"),
            dropout=given.get("dropout", 0.1),
        )
    return _scaler_class("InterpUpscaler")(
        given["in_dim"],
        given["out_dim"],
        sizes=_sizes(given["interp_size"]),
        activation=_silu_or_relu(activation),
        dropout=given.get("dropout", 0.1),
        mode=given.get("interp_mode", "bilinear"),
    )


def _scaler_class(name: str) -> Callable[..., nn.Module]:
    # The hub lies below the models: it reaches them by name only.
    return import_object(f"surform.operators.galerkin_scalers:{name}")


def _build(fixture: Fixture, dtype: torch.dtype, with_positions: bool) -> nn.Module:
    """The model; official calls without positions skip the coordinates and their projection."""
    if with_positions:
        return SYSTEM.build(fixture, dtype)
    tensors = {k: v for k, v in fixture.tensors.items() if ".attn.fc." not in k}
    constructor = fixture.constructor | {"pos_dim": 0, "spacial_dim": _axes(fixture)}
    return SYSTEM.build(
        dataclasses.replace(fixture, tensors=tensors, constructor=constructor), dtype
    )


def _axes(fixture: Fixture) -> int:
    return _or(fixture.constructor, "spacial_dim", fixture.constructor["pos_dim"])


def _score_masks(inputs: dict[str, Tensor], model: nn.Module) -> list[Tensor | None] | None:
    """in/mask0, in/mask1, ...: what the official dropout of the scores had drawn, per layer."""
    found = {int(k.removeprefix("mask")): v for k, v in inputs.items() if re.match(r"mask\d+$", k)}
    depth = len(model.get_submodule("encoder.layers")._modules)
    return [found.get(i) for i in range(depth)] if found else None


def _denormalizer(inputs: dict[str, Tensor]) -> Callable[[Tensor], Tensor] | None:
    if "norm_mean" not in inputs:
        return None
    return lambda y: y * (inputs["norm_std"] + 1e-5) + inputs["norm_mean"]


def _watch(model: nn.Module) -> dict[str, Tensor]:
    """Fill the returned dict with the fixture's intermediate tensors while the model runs."""
    mid: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module | None) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            mid[name] = output

        if module is not None:
            module.register_forward_hook(hook)

    layers = model.get_submodule("encoder.layers")._modules
    for i in layers:
        keep(f"layer{i}", model.get_submodule(f"encoder.layers.{i}"))
        keep(f"attn{i}", model.get_submodule(f"encoder.layers.{i}.attention"))
    if not getattr(model, "skip_encoder", False):
        keep("encoder_out", model.get_submodule("encoder"))
    for name in ("downscaler", "upscaler"):
        keep(name, model._modules.get(name))
    return mid


SYSTEM = System(
    name="galerkin",
    kinds={"burgers1d": _replay, "darcy2d": _replay, "scalers": _replay_scalers},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
)
