"""Pathformer: decisionintelligence/pathformer@ea85d82932215e171357da47b3bc82d502344758."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from surform.hub.official.fixture import Fixture, Replay, System
from surform.hub.official.pathformer_keys import DROPPED, to_official, to_ours

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
# what the official command line takes where nothing is said
_DEFAULTS: Arguments = {
    "seq_len": 96,
    "pred_len": 96,
    "num_nodes": 21,
    "d_model": 16,
    "d_ff": 64,
    "layer_nums": 3,
    "k": 2,
    "patch_size_list": [16, 12, 8, 32, 12, 8, 6, 4, 8, 6, 4, 2],
    "residual_connection": 0,
    "revin": 1,
    "batch_norm": 0,
}


def _arguments(
    constructor: Arguments, *, kind: str | None = None, options: Arguments | None = None
) -> tuple[str, Arguments]:
    """Official constructor -> (registered name, our arguments)."""
    if kind not in (None, "model"):
        raise ValueError(f"kind {kind!r} is no Pathformer: choose model")
    given = _DEFAULTS | constructor.get("configs", constructor)
    sizes = _patch_sizes(given)
    return "pathformer", {
        "lookback": given["seq_len"],
        "horizon": given["pred_len"],
        "variates": given["num_nodes"],
        "patch_sizes": sizes,
        "top_k": min(given["k"], max(len(row) for row in sizes)),  # of fewer experts, all
        "dim": given["d_model"],
        "mlp_ratio": given["d_ff"] / given["d_model"],
        "residual": bool(given["residual_connection"]),
        "normalize": bool(given["revin"]),
        "batch_norm": bool(given["batch_norm"]),
    }


def _patch_sizes(given: Arguments) -> tuple[tuple[int, ...], ...]:
    """Rows of patch sizes; the command line gives them in one row, layer after layer."""
    sizes, layers = given["patch_size_list"], given["layer_nums"]
    if all(isinstance(size, int) for size in sizes):
        if len(sizes) % layers:
            raise ValueError(f"{len(sizes)} patch sizes cannot be shared by {layers} layers")
        row = len(sizes) // layers
        sizes = [sizes[start : start + row] for start in range(0, len(sizes), row)]
    rows = [tuple(row) for row in sizes][:layers]
    counts = given.get("num_experts_list", [len(row) for row in rows])[: len(rows)]
    wrong = [i for i, (row, n) in enumerate(zip(rows, counts, strict=False)) if len(row) != int(n)]
    if len(rows) < layers or len(counts) < len(rows) or wrong:
        raise ValueError(
            f"patch_size_list {sizes} and num_experts_list {list(counts)} must give each of the "
            f"{layers} layers as many patch sizes as experts"
        )
    return tuple(rows)


def _infer(state: dict[str, Tensor]) -> Arguments:
    """What the shapes tell, in the error: they do not tell everything."""
    count = len({key.split(".")[1] for key in state if key.startswith("AMS_lists.")})
    lookback = state["AMS_lists.0.w_gate.weight"].shape[1]
    found: Arguments = {
        "seq_len": lookback,
        "pred_len": len(state["projections.0.weight"]),
        "num_nodes": state["AMS_lists.0.start_linear.weight"].shape[1],
        "d_model": len(state["start_fc.weight"]),
        "d_ff": len(state["AMS_lists.0.experts.0.ff.0.weight"]),
        "layer_nums": count,
        "patch_size_list": [_row(state, layer, lookback) for layer in range(count)],
    }
    raise ValueError(
        "Pathformer's weights do not tell k, residual_connection, revin and batch_norm: give the "
        f"official constructor, these four beside {found}"
    )


def _row(state: dict[str, Tensor], layer: int, lookback: int) -> list[int]:
    experts = len(state[f"AMS_lists.{layer}.w_gate.weight"])
    start = f"AMS_lists.{layer}.experts"
    return [lookback // len(state[f"{start}.{e}.intra_embeddings"]) for e in range(experts)]


class _Recorder:
    """What the fixtures keep of the inside: gates and loads, parts of the first layer."""

    def __init__(self, model: nn.Module, recorded: Tensor | None) -> None:
        self.mid: dict[str, Tensor] = {}
        self.recorded = recorded
        for number, layer in enumerate(model.get_submodule("layers").children()):
            layer.get_submodule("router").register_forward_hook(self._routes(number))
        first = model.get_submodule("layers.0")
        first.register_forward_hook(self._layer)
        first.get_submodule("experts.0").register_forward_hook(self._expert)

    def _routes(self, number: int) -> Any:
        def keep(router: Any, _: Any, routes: Any) -> None:
            self.mid[f"gates{number}"] = routes.dense(router.experts).detach()
            self.mid[f"load{number}"] = routes.load.detach()

        return keep

    def _layer(self, _: nn.Module, args: Any, out: Any) -> None:
        self.mid["start"] = args[0].detach().permute(3, 1, 2, 0)
        self.mid["ams0"] = out[0].detach().permute(3, 1, 2, 0)

    def _expert(self, expert: Any, args: Any, out: Tensor) -> None:
        found = out.detach().permute(3, 1, 2, 0)
        order = _order(found, self.recorded)
        self.mid["expert0_0"] = found[order]
        with torch.no_grad():
            patches = args[0].unflatten(1, (-1, expert.patch_size)).transpose(1, 2)
            d, p, n, v, b = patches.shape
            vectors = expert.intra.vectors(patches, args[1])
            between = expert.inter.attend(patches.reshape(d * p, -1)).view(d * p, n, v, b)
        self.mid["intra0_0"] = vectors[:1].permute(3, 0, 1, 2)[order]
        self.mid["inter0_0"] = between.permute(3, 2, 1, 0)[order].flatten(0, 1)


def _order(found: Tensor, recorded: Tensor | None) -> Tensor:
    """The samples of an expert as they lie in a recorded tensor: found by their values.

    The official dispatcher sorts unstably, so that their order follows from no rule.
    """
    order = torch.arange(len(found))
    if recorded is None or recorded.shape != found.shape or not len(found):
        return order
    distances = torch.cdist(recorded.flatten(1).double(), found.flatten(1).double())
    nearest = distances.argmin(1)
    return nearest if len(nearest.unique()) == len(order) else order


def _noise(fixture: Fixture, inputs: dict[str, Tensor], layers: int) -> Sequence[Tensor] | None:
    if fixture.mode != "train":
        return None
    lacking = [f"in/noise{i}" for i in range(layers) if f"noise{i}" not in inputs]
    if lacking:
        raise ValueError(f"a case in train mode needs the router's noise; {lacking} are missing")
    return [inputs[f"noise{i}"] for i in range(layers)]


def _model(fixture: Fixture, dtype: torch.dtype) -> Replay:
    model: Any = SYSTEM.build(fixture, dtype)
    inputs = fixture.inputs(dtype)
    recorder = _Recorder(model, fixture.tensors.get("mid/expert0_0"))
    y, penalty = model.forecast_and_penalty(
        inputs["x"], gate_noise=_noise(fixture, inputs, len(model.layers))
    )
    outputs = {"y0": y, "y1": penalty}
    for key, value in fixture.named("out").items():
        outputs |= {key: outputs[key].reshape(value.shape)} if key == "y1" else {}
    # fixtures in train mode keep the running statistics after the pass
    state = to_official(dict(model.state_dict()), fixture.constructor)
    outputs |= {k: v.clone() for k, v in state.items() if f"out/{k}" in fixture.tensors}
    return Replay(outputs, inputs, model, loss=_loss(fixture, outputs, dtype), mid=recorder.mid)


def _loss(fixture: Fixture, outputs: dict[str, Tensor], dtype: torch.dtype) -> Tensor | None:
    """The weights in/cot are the forecast's; the penalty counts where it has weights of its own."""
    weights = {"y0": fixture.cotangent("y0", dtype)}
    if "in/cot_y1" in fixture.tensors:
        weights["y1"] = fixture.cotangent("y1", dtype)
    terms = [(outputs[name] * w).sum() for name, w in weights.items() if w is not None]
    return torch.stack(terms).sum() if terms else None


SYSTEM = System(
    name="pathformer",
    kinds={"model": _model},
    arguments=_arguments,
    to_ours=to_ours,
    to_official=to_official,
    dropped=DROPPED,
    infer=_infer,
    surrogate="series",
    noise=("dropout", "ffn_dropout"),
)
