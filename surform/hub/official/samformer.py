"""SAMformer: romilbert/samformer@71f10eaa696f, its PyTorch version, and its Keras arrays one way.

Official series are channel first, ours channel last. The network holds RevIN's parameters even
where RevIN is off; trained ones tell that it was on, ones as they began tell nothing.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.samformer_keras import from_keras
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_PREFIXES = (
    ("revin.affine_", "revin."),
    ("compute_queries.", "query."),
    ("compute_keys.", "key."),
    ("compute_values.", "value."),
    ("linear_forecaster.", "head."),
)
_OWN_OPTIONS = ("cls", "base", "rho", "adaptive", "steps")  # the others are the base optimizer's


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model", "sam_steps"):
        raise ValueError(f"kind {kind!r} is no SAMformer: choose model or sam_steps")
    return "samformer", {
        "lookback": constructor["seq_len"],
        "horizon": constructor["pred_horizon"],
        "variates": constructor["num_channels"],
        "dim": constructor.get("hid_dim", 16),  # what the official trainer builds
        "normalize": constructor.get("use_revin", True),
    }


def _infer(state: State) -> Arguments:
    """Official constructor arguments from a state dict; ValueError where RevIN leaves no trace."""
    hid_dim, seq_len = state["compute_queries.weight"].shape
    scale, shift = state["revin.affine_weight"], state["revin.affine_bias"]
    found: Arguments = {
        "num_channels": len(scale),
        "seq_len": seq_len,
        "hid_dim": hid_dim,
        "pred_horizon": len(state["linear_forecaster.weight"]),
    }
    if (scale != 1).any() or (shift != 0).any():  # only gradients can have moved them
        return found | {"use_revin": True}
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"a SAMformer's weights tell {read}, but not its use_revin, since RevIN's parameters are "
        "as they began: give the official constructor arguments"
    )


def _to_ours(state: State, constructor: Arguments) -> State:
    """Official state dict -> ours, which has no RevIN where it is off."""
    ours = {_renamed(key, 0): value for key, value in state.items()}
    if constructor.get("use_revin", True):
        return ours
    return {key: value for key, value in ours.items() if not key.startswith("revin.")}


def _to_official(state: State, constructor: Arguments) -> State:
    """Our state dict (or gradients) -> the official one, without RevIN's where it is off."""
    return _names_of(state)


def _names_of(state: State) -> State:
    return {_renamed(key, 1): value for key, value in state.items()}


def _renamed(key: str, source: int) -> str:
    for pair in _PREFIXES:
        if key.startswith(pair[source]):
            return pair[1 - source] + key.removeprefix(pair[source])
    return key


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    y = model(inputs["x"].transpose(1, 2)).transpose(1, 2)
    if fixture.options.get("flatten_output", True):
        y = y.flatten(1)  # channel-major
    mid = _inside(model, inputs["x"].detach())
    return Replay({"y": y}, inputs, model, mid=mid)


@torch.no_grad()
def _inside(model: Any, x: Tensor) -> State:
    """What the fixtures keep of the inside, each from its own map."""
    series = x.transpose(1, 2)
    standard = series if model.revin is None else model.revin.standardize(series)[0]
    normal = (series if model.revin is None else model.revin.normalize(series)[0]).transpose(1, 2)
    return {
        "x_norm": normal,
        "queries": F.linear(normal, model.query.weight, model.query.bias),
        "keys": F.linear(normal, model.key.weight, model.key.bias),
        "values": F.linear(normal, model.value.weight, model.value.bias),
        "before_denorm": model.normalized(standard),
    }


def _sam_steps(fixture: Fixture, dtype: torch.dtype) -> Replay:
    """Steps of our optimizer; gradients are those of the first loss, on a model of its own."""
    model, trained = SYSTEM.build(fixture, dtype), SYSTEM.build(fixture, dtype)
    inputs, options = fixture.inputs(dtype), fixture.constructor.get("optimizer", {})
    optimizer = _optimizer(trained.parameters(), options)
    unused = {k: v for k, v in fixture.parameters(dtype).items() if k.startswith("revin.")}
    outputs, mid, losses = {}, {}, ([], [])
    for step in range(options.get("steps", len(inputs["x"]))):

        def closure(step: int = step) -> Tensor:
            optimizer.zero_grad()
            loss = _loss(trained, inputs["x"][step].detach(), inputs["y"][step].detach())
            loss.backward()
            losses[optimizer.perturbed].append(loss.detach())
            if optimizer.perturbed and step == 0:
                mid.update(_snapshot("perturbed", trained, unused))
            return loss

        optimizer.step(closure)
        outputs |= _snapshot(f"after_step{step}", trained, unused)
    outputs |= {"loss_first": torch.stack(losses[0]), "loss_second": torch.stack(losses[1])}
    return Replay(
        outputs,
        inputs,
        model,
        loss=_loss(model, inputs["x"][0], inputs["y"][0]),
        mid=mid,
        slack=_slack(outputs, optimizer.param_groups[0], dtype),
    )


def _slack(outputs: State, options: Arguments, dtype: torch.dtype) -> dict[str, float]:
    """What rounding alone does to the keys' bias, which no loss depends on.

    Its gradient is noise of some eps of the others. An optimizer that divides by the gradient's
    size plus a small number makes steps of up to `lr` of it.
    """
    if "eps" not in options:
        return {}
    share = min(1.0, 64 * torch.finfo(dtype).eps / max(options["eps"], 1e-300))
    step = float(options["lr"]) * share
    found = {}
    for name in outputs:
        number = re.fullmatch(r"after_step(\d+)\.compute_keys\.bias", name)
        if number:
            found[f"out/{name}"] = step * (int(number[1]) + 1)
    return found


def _optimizer(parameters: Any, options: Arguments) -> Any:
    name = str(options.get("base", "torch.optim.Adam")).rpartition(".")[2]
    base = getattr(torch.optim, name, None)
    if options.get("cls", "SAM") != "SAM" or base is None:
        raise ValueError(
            f"optimizer is {options.get('cls')!r} around {name!r}, but must be SAM around a class "
            "of torch.optim"
        )
    rest = {name: value for name, value in options.items() if name not in _OWN_OPTIONS}
    return import_object("surform.training.sharpness:SharpnessAware")(
        parameters,
        lambda params: base(params, **rest),
        options.get("rho", 0.05),
        options.get("adaptive", False),
    )


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    forecast = model(x.transpose(1, 2)).transpose(1, 2)
    return F.mse_loss(forecast.flatten(1), y.flatten(1))


def _snapshot(prefix: str, model: nn.Module, unused: State) -> State:
    """The weights under official names; RevIN's, where it is off, as they were."""
    state = unused | _names_of(model.state_dict())
    return {f"{prefix}.{name}": value.clone() for name, value in state.items()}


SYSTEM = System(
    name="samformer",
    kinds={"model": _model, "sam_steps": _sam_steps},
    arguments=_arguments,
    to_ours=_to_ours,
    to_official=_to_official,
    dropped={"revin.*": "unused where use_revin is False"},
    infer=_infer,
    surrogate="series",
    translate=from_keras,
)
