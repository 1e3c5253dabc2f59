"""FactFormer: BaratiLab/FactFormer@c9801d162cb3 and its parent cd3e2638acf9.

The two commits share their state dict and differ in the norm of the kernel integral's output, the
fixture's option `out_norm`. A checkpoint does not say which one trained it; "row_instance", the
semantics of the commit that runs as released, is assumed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.factformer_keys import to_official, to_ours
from surform.hub.official.fixture import Fixture, Replay, System
from surform.registry import import_object

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
_OPTIONAL = {
    "dim": "dim",
    "depth": "depth",
    "heads": "heads",
    "dim_head": "head_dim",
    "kernel_multiplier": "kernel_multiplier",
    "latent_multiplier": "latent_multiplier",
    "latent_mutliplier": "latent_multiplier",  # misspelt in the turbulence model
    "max_latent_steps": "max_steps",
    "in_time_window": "input_steps",
}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    kind = _deduce(constructor) if kind is None else kind
    ours: Arguments = {
        our: constructor[official] for official, our in _OPTIONAL.items() if official in constructor
    }
    ours["out_norm"] = (options or {}).get("out_norm", "row_instance")
    ours["out_channels"] = constructor["out_dim"]
    if kind == "darcy2d":
        return "factformer2d_steady", ours | {"in_channels": constructor["in_dim"]}
    if kind in ("kolmogorov2d", "kolmogorov2d_rollout"):
        return "factformer2d", ours | {"in_channels": 1}  # the official in_dim is never read
    if kind == "smoke3d":
        return "factformer3d", ours | _smoke(constructor)
    if kind == "turbulence3d":
        return "factformer3d", ours | _turbulence(constructor)
    raise ValueError(
        f"kind {kind!r} is no FactFormer model: choose darcy2d, kolmogorov2d, smoke3d or "
        "turbulence3d"
    )


def _smoke(constructor: Arguments) -> Arguments:
    return {
        "in_channels": constructor["in_dim"],
        "padding": constructor["padding"],
        "skip": True,
        "encoding_scale": 1.0,
    }


def _turbulence(constructor: Arguments) -> Arguments:
    return {
        "in_channels": constructor["in_dim"],
        "padding": 0,
        "skip": False,
        "norm_groups": 8,
        "encoding_scale": 8.0,
    }


def _deduce(constructor: Arguments) -> str:
    """The model whose constructor has these arguments."""
    if "resolution" in constructor:
        return "darcy2d"
    if "padding" in constructor:
        return "smoke3d"
    if "latent_mutliplier" in constructor:
        return "turbulence3d"
    if "in_time_window" in constructor:
        return "kolmogorov2d"
    raise ValueError(
        "the constructor does not tell which FactFormer it builds: give kind as one of darcy2d, "
        "kolmogorov2d, smoke3d, turbulence3d"
    )


def _infer(state: dict[str, Tensor]) -> Arguments:
    """Official constructor arguments from the shapes of a state dict."""
    value = state["encoder.layers.0.1.to_v.weight"]
    width = 2 * len(state["encoder.layers.0.1.low_rank_kernel_x.pos_emb.inv_freq"])
    heads = state["encoder.layers.0.1.low_rank_kernel_x.to_q.weight"].shape[0] // width
    dim_head = value.shape[0] // heads
    found: Arguments = {
        "dim": value.shape[1],
        "depth": 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.")),
        "heads": heads,
        "dim_head": dim_head,
        "kernel_multiplier": width // dim_head,
    }
    if "latent_time_emb" not in state:
        lift, out = state["to_in.weight"], state["simple_to_out.4.weight"]
        return found | {"in_dim": lift.shape[1], "out_dim": out.shape[0], "resolution": None}
    found["out_dim"] = len(state["simple_to_out.6.weight"])
    found["max_latent_steps"] = state["latent_time_emb"].shape[1]
    multiplier = state["latent_time_emb"].shape[-1] / found["dim"]
    if "to_in.weight" in state:
        frames = state["to_in.weight"].shape[1]
        return found | {"in_time_window": frames, "latent_multiplier": multiplier}
    if "down_block.1.weight" in state:
        raise ValueError(
            "the smoke model's weights do not tell its padding: give the official constructor"
        )
    raise ValueError(
        "the turbulence model's weights do not tell its input channels: give the official "
        "constructor"
    )


def _watch(module: nn.Module, name: str, mid: dict[str, Tensor]) -> None:
    """Keep the module's first output."""

    def keep(_: nn.Module, __: Any, out: Tensor) -> None:
        mid.setdefault(name, out.detach())

    module.register_forward_hook(keep)


class _Recorder:
    """What the fixtures keep of the inside: first block, its kernels, first encoding, encoder."""

    def __init__(self, model: nn.Module) -> None:
        self.mid: dict[str, Tensor] = {}
        layers = model.get_submodule("layers")
        first, last = layers.get_submodule("0"), list(layers.children())[-1]
        self._keep(first.get_submodule("encoding"), "posenc0")
        self._keep(last, "encoder_out")
        for axis, kernel in enumerate(first.get_submodule("block.axes").children()):
            self._keep(kernel, f"kernel_{'xyz'[axis]}0")
        # ours adds the residual inside the block, theirs outside
        first.get_submodule("block").register_forward_hook(self._block, with_kwargs=True)

    def _keep(self, module: nn.Module, name: str) -> None:
        _watch(module, name, self.mid)

    def _block(self, module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:
        self.mid.setdefault("fa0", (out - kwargs["residual"]).detach())


def _positions(inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(inputs[f"pos_{axis}"].flatten() for axis in "xyz" if f"pos_{axis}" in inputs)


def _steps(fixture: Fixture) -> int | None:
    return fixture.options.get("latent_steps")


def _darcy(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    recorder = _Recorder(model)
    y = model(inputs["u"], _positions(inputs))
    return Replay({"y": y}, inputs, model, mid=recorder.mid)


def _kolmogorov(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    recorder = _Recorder(model)
    window = inputs["u"].movedim(-1, 1)[..., None]
    y = model(window, _positions(inputs), steps=_steps(fixture))
    return Replay({"y": y}, inputs, model, mid=recorder.mid)


def _kolmogorov_rollout(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    recorder = _Recorder(model)
    window, frames = inputs["u"].movedim(-1, 1)[..., None], []
    for _ in range(fixture.options["calls"]):
        frames.append(model(window, _positions(inputs), steps=_steps(fixture)))
        window = torch.cat((window, frames[-1]), 1)[:, -window.shape[1] :]
    return Replay({"traj": torch.cat(frames, 1)}, inputs, model, mid=recorder.mid)


def _volume(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model, inputs = SYSTEM.build(fixture, dtype), fixture.inputs(dtype)
    recorder = _Recorder(model)
    window = inputs["u"].movedim(1, -1)  # (b, c, t, x, y, z) -> (b, t, x, y, z, c)
    y = model(window, _positions(inputs), steps=_steps(fixture))
    return Replay({"y": y}, inputs, model, mid=recorder.mid)


def _block(fixture: Fixture, dtype: torch.dtype) -> Replay:
    given = fixture.constructor
    block: nn.Module = import_object("surform.operators.factorized_block:FactorizedBlock")(
        given["dim"],
        given["heads"],
        given["dim_head"],
        2,
        latent_dim=given.get("latent_dim"),
        dim_out=given.get("dim_out"),
        kernel_multiplier=given.get("kernel_multiplier", 3),
        scaling_factor=given.get("scaling_factor", 1.0),
        rotary=given.get("use_rope", True),
        out_norm=fixture.options.get("out_norm", "row_instance"),
    ).to(dtype)
    block.load_state_dict(to_ours(fixture.parameters(dtype), given))
    inputs, mid = fixture.inputs(dtype), {}
    for axis, kernel in zip("xy", block.get_submodule("axes").children(), strict=True):
        _watch(kernel, f"kernel_{axis}", mid)
    y = block.train(fixture.mode == "train")(inputs["u"], _positions(inputs))
    return Replay(
        {"y": y}, inputs, block, mid=mid, to_official=lambda state: to_official(state, given)
    )


SYSTEM = System(
    name="factformer",
    kinds={
        "darcy2d": _darcy,
        "kolmogorov2d": _kolmogorov,
        "kolmogorov2d_rollout": _kolmogorov_rollout,
        "smoke3d": _volume,
        "turbulence3d": _volume,
        "block2d": _block,
    },
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    infer=_infer,
)
