"""CARD: wxie9/CARD@ca6d34bcf263, its copies for look-backs of 96 and 720 and for M4."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.card_keys import DROPPED, to_official, to_ours
from surform.hub.official.fixture import Fixture, Replay, System
from surform.registry import find, import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
_DEFAULTS: Arguments = {
    "task_name": "long_term_forecast",
    "seq_len": 96,
    "pred_len": 96,
    "enc_in": 7,
    "num_class": 1,
    "patch_len": 16,
    "stride": 8,
    "d_model": 512,
    "d_ff": 2048,
    "e_layers": 2,
    "n_heads": 8,
    "dropout": 0.1,
    "dp_rank": 8,
    "merge_size": 2,
    "alpha": 0.5,
    "momentum": 0.1,
    "use_statistic": False,
}
_SAME = {
    "seq_len": "lookback",
    "patch_len": "patch_size",
    "stride": "stride",
    "d_model": "dim",
    "e_layers": "depth",
    "n_heads": "heads",
    "dropout": "dropout",
    "dp_rank": "rank",
    "merge_size": "merge",
    "alpha": "smoothing",
    "momentum": "momentum",
    "use_statistic": "statistic_token",
}
_FORECASTS = ("long_term_forecast", "short_term_forecast")
_FILLS = ("imputation", "anomaly_detection")  # give back the history itself
# name in adjust_learning_rate -> ours
_SCHEDULES = {"card": "CosineEpochs", "type1": "Halving", "type3": "DelayedDecay"}


def _config(constructor: Arguments) -> Arguments:
    """The official config object's values, which fixtures keep below "config"."""
    return _DEFAULTS | (constructor.get("config") or constructor)


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    given = _config(constructor)
    ours = {our: given[official] for official, our in _SAME.items()}
    ours["mlp_ratio"] = given["d_ff"] / given["d_model"]
    task = given["task_name"]
    if task in _FORECASTS:
        return "card", ours | {"horizon": given["pred_len"]}
    if task in _FILLS:
        return "card", ours | {"horizon": given["seq_len"], "legacy_mask": task == "imputation"}
    if task == "classification":
        return "card", ours | {"num_classes": given["num_class"], "variates": given["enc_in"]}
    raise ValueError(
        f"task_name is {task!r}, CARD knows {', '.join((*_FORECASTS, *_FILLS, 'classification'))}"
    )


def _infer(state: dict[str, Tensor]) -> Arguments:
    """Never enough: how patches and heads are cut leaves no trace in the weights."""
    block = "model.Attentions_over_channel.0"
    patches, dim = state["model.W_pos_embed"].shape
    rank, width = state[f"{block}.dp_k.weight"].shape
    found: Arguments = {
        "patch_len": state["model.W_input_projection.weight"].shape[1],
        "d_model": dim,
        "d_ff": len(state[f"{block}.ff_1.0.weight"]),
        "e_layers": 1 + max(int(k.split(".")[2]) for k in state if "Attentions_mlp." in k),
        "n_heads": dim // width,
        "dp_rank": rank,
    }
    smoothing = state.get(f"{block}.ema_matrix")
    if smoothing is not None and len(smoothing) > 1:
        found["alpha"] = float(f"{smoothing[1, 1].item():.6g}")
    rows, columns = state["model.W_out.weight"].shape
    if columns == (patches + 1) * dim:
        found["pred_len"] = rows
    else:
        found |= {"task_name": "classification", "num_class": rows, "enc_in": columns // dim}
    read = ", ".join(f"{name}={value}" for name, value in found.items())
    raise ValueError(
        f"CARD's weights tell {read} and {patches} patches, but not its seq_len, stride, "
        "merge_size, use_statistic and momentum: give the official constructor arguments"
    )


def _watch(model: nn.Module) -> dict[str, Tensor]:
    """What the fixtures keep of the inside, filled by the next forward pass."""
    mid: dict[str, Tensor] = {}

    def keep(module: nn.Module, name: str, merge: bool = False) -> None:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mid[name] = out.detach().flatten(0, 1) if merge else out.detach()

        module.register_forward_hook(hook)

    keep(model.get_submodule("embedding.project"), "input_projection")
    for index, layer in enumerate(model.get_submodule("layers").children()):
        keep(layer.get_submodule("over_variates"), f"channel_attn{index}")
        keep(layer.get_submodule("over_tokens"), f"token_attn{index}")
        keep(layer.get_submodule("norm"), f"layer{index}_norm", merge=True)
    return mid


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    _take_smoothing(model, fixture.parameters(dtype))
    mid, observed = _watch(model), None
    if _config(fixture.constructor)["task_name"] == "imputation":  # others ignore their mask
        masks = [value != 0 for name, value in inputs.items() if name != "x"]
        observed = masks[0] if masks else None
    y = model(inputs["x"], observed=observed)
    # fixtures in train mode keep the running statistics after the pass
    buffers = to_official({name: value.detach() for name, value in model.named_buffers()})
    cotangent = fixture.cotangent("y", dtype)
    loss = None if cotangent is None else (y * cotangent).sum()
    return Replay({"y": y, **buffers}, inputs, model, mid=mid, loss=loss)


def _take_smoothing(model: nn.Module, recorded: dict[str, Tensor]) -> None:
    """The recorded matrices in place of ours: their precision is that of the official run."""
    for index, layer in enumerate(model.get_submodule("layers").children()):
        given = recorded.get(f"model.Attentions_over_channel.{index}.ema_matrix")
        smoothing: Any = layer.get_submodule("over_variates.smoothing")
        if given is not None and min(given.shape) >= smoothing.size:
            smoothing.matrix = given[: smoothing.size, : smoothing.size].contiguous()


def _loss_and_schedule(fixture: Fixture, dtype: torch.dtype) -> Replay:
    inputs, outputs = fixture.inputs(dtype), {}
    decay = find("losses", "signal_decay")()
    prediction = import_object("surform.training.prediction:Prediction")
    loss = decay(prediction(inputs["pred"], inputs["target"]))
    outputs["loss"] = loss.reshape(1)
    for name, expected in fixture.named("out").items():
        if name.startswith("lr."):
            outputs[name] = _rates(name, float(expected[0]), len(expected))
    steps = torch.arange(1, inputs["pred"].shape[1] + 1, dtype=dtype)
    return Replay(
        outputs,
        inputs,
        decay,
        loss=loss,
        mid={"ratio": steps.rsqrt()},
        to_official=lambda state: state,
    )


def _rates(name: str, lr: float, epochs: int) -> Tensor:
    """The learning rate of each epoch; name: lr.<kind>_<epochs>[_w<warmup>]. All begin at `lr`."""
    found = re.fullmatch(r"lr\.(\w+?)_(\d+)(?:_w(\d+))?", name)
    if found is None or found.group(1).lower() not in _SCHEDULES:
        raise ValueError(f"{name} is no known schedule: lr.<{'|'.join(_SCHEDULES)}>_<epochs>")
    schedule = import_object(f"surform.training.schedules:{_SCHEDULES[found.group(1).lower()]}")
    warmup = {"warmup": int(found.group(3) or 0)} if found.group(1).lower() == "card" else {}
    made, total = schedule(**warmup), int(found.group(2))
    return torch.tensor([made.rate(lr, epoch, total) for epoch in range(epochs)])


SYSTEM = System(
    name="card",
    kinds={"model": _model, "loss_and_schedule": _loss_and_schedule},
    arguments=_arguments,
    to_ours=lambda state, constructor: to_ours(state, _config(constructor)["use_statistic"]),
    to_official=lambda state, constructor: to_official(state),
    dropped=DROPPED,
    infer=_infer,
    surrogate="series",
    noise=("dropout",),
)
