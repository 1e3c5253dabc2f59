"""Hiformer in the published sizes, one CPU thread, batches of 256 rows, all runs in turns.

Serving: a forward pass of each kind of layer, and of the folded networks beside their unfolded
selves and beside the one of full rank without pruning; Hiformer's folded tables also in bfloat16
and int8. Training: forward and backward, and a step of Adam with them, for an unpruned layer of the
kind "feature", beside the same layer as a loop over modules of each feature with torch's attention
(`_Loop`, in two ways). 31 categorical features of 100 categories and 30 numbers make 38 tokens.
Times are CPU times, medians over the turns. What is asked of them is printed last, and whether it
was met.

    python -m benchmarks.hiformer
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import RESULTS
from surform import create_model
from surform.bench.measure import alternating, save
from surform.recommenders.folding import fold
from surform.recommenders.hiformer_layer import HiformerLayer

__all__ = ["asked", "main", "rows"]

PUBLISHED: dict[str, Any] = {
    "vocab_sizes": (100,) * 31,
    "dense_features": 30,
    "dense_tokens": 6,
    "dense_hidden": 768,
    "dim": 128,
    "heads": 4,
    "key_dim": 16,
    "value_dim": 64,
    "key_rank": 128,
    "value_rank": 1024,
}
BATCH = 256


class _Loop(nn.Module):
    """A layer of the kind "feature" as a module per feature for each of its maps, (B, N, dim).

    Args:
        unbound: cut the tokens apart once; False picks each by its index, `x[:, i]`, as one writes
            it, whose gradients are tensors of all tokens, filled with zeros and added up.
    """

    def __init__(self, layer: HiformerLayer, unbound: bool) -> None:
        super().__init__()
        after: Any = layer.after
        up, down = after.feed_forward.up, after.feed_forward.down
        qkv: Any = layer.maps["qkv"]
        self.heads, self.unbound = qkv.heads, unbound
        parts = {"out": after.out, "up": up, "down": down}
        made = {name: _per_feature(part.weight, part.bias) for name, part in parts.items()}
        weights, biases = (
            (x.unflatten(-1, (qkv.heads, -1)).split(qkv.widths, -1)) for x in (qkv.weight, qkv.bias)
        )
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            made[name] = _per_feature(weight.flatten(2), bias.flatten(1))
        self.maps = nn.ModuleDict(made)
        self.norm1, self.norm2 = after.norm1, after.norm2

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._each(name, x).unflatten(-1, (self.heads, -1)) for name in "qkv")
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        taken = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        z = self.norm1(x + self._each("out", taken))
        return self.norm2(z + self._each("down", F.gelu(self._each("up", z))))

    def _each(self, name: str, x: Tensor) -> Tensor:
        tokens = x.unbind(1) if self.unbound else [x[:, i] for i in range(x.shape[1])]
        maps: Any = self.maps[name]
        return torch.stack([maps[i](token) for i, token in enumerate(tokens)], 1)


def _per_feature(weights: Tensor, biases: Tensor) -> nn.ModuleList:
    """Linear maps with the weights of a batched one."""
    tokens, inputs, outputs = weights.shape
    made = nn.ModuleList(nn.Linear(inputs, outputs) for _ in range(tokens))
    with torch.no_grad():
        for i, linear in enumerate(made):
            linear.weight.copy_(weights[i].T)  # type: ignore[union-attr]
            linear.bias.copy_(biases[i])  # type: ignore[union-attr]
    return made


def rows(repeats: int) -> list[dict[str, Any]]:
    """One row per network or layer."""
    torch.manual_seed(0)
    return _serving(repeats) + _training(repeats)


def asked(found: list[dict[str, Any]]) -> list[tuple[str, float, float, bool]]:
    """(what, measured, bound, whether it was met) of what these rows should reach."""
    by_name = {(row["case"], row["network"]): row for row in found}
    folded = [row for (_, name), row in by_name.items() if name.endswith(", folded")]
    served = by_name["serving", "lowrank, folded"]
    step = by_name["training step of a layer", "feature, unpruned"]
    gap = max(row["largest_difference"] for row in folded)
    most = [("largest difference of folded and unfolded", gap, 1e-5)]
    least = [
        ("folded Hiformer over unfolded", served["against_unfolded"], 1.35),
        ("folded Hiformer over full rank, unpruned", served["against_full_rank_unpruned"], 3.5),
        ("training step over a loop of modules", step["against_loop"], 1.4),
    ]
    return [(*line, line[1] <= line[2]) for line in most] + [
        (*line, line[1] >= line[2]) for line in least
    ]


def _network(**options: Any) -> Any:
    return create_model("hiformer", **PUBLISHED | options).eval()


def _serving(repeats: int) -> list[dict[str, Any]]:
    given = torch.randint(100, (BATCH, 31)), torch.randn(BATCH, 30)
    nets = {
        "lowrank": _network(),
        "composite": _network(attention="composite"),
        "composite, unpruned": _network(attention="composite", prune_last=False),
        "feature": _network(attention="feature"),
        "shared": _network(attention="shared"),
    }
    folded = {f"{n}, folded": fold(nets[n]) for n in ("lowrank", "composite", "feature")}
    for dtype in ("bfloat16", "int8"):
        folded[f"lowrank, folded, {dtype}"] = fold(nets["lowrank"], dtype)
    origin = {name: name.partition(", folded")[0] for name in folded}
    runs: dict[str, Any] = nets | folded
    with torch.no_grad():
        gap = {
            name: (net(*given) - nets[origin[name]](*given)).abs().max().item()
            for name, net in folded.items()
        }
        seconds = alternating(
            {name: _call(net, *given) for name, net in runs.items()},
            repeats,
            clock=time.process_time,
        )
    found = []
    for name, net in runs.items():
        plain, whole = seconds[origin.get(name, name)], seconds["composite, unpruned"]
        found.append(
            {
                "case": "serving",
                "network": name,
                "parameters_M": round(_size(net), 2),
                "ms": round(1e3 * seconds[name], 1),
                "against_unfolded": round(plain / seconds[name], 2),
                "against_full_rank_unpruned": round(whole / seconds[name], 2),
                "largest_difference": gap.get(name, 0.0),
            }
        )
    return found


def _training(repeats: int) -> list[dict[str, Any]]:
    layer = _network(attention="feature", prune_last=False).layers[0]
    loop, unbound, x = _Loop(layer, False), _Loop(layer, True), torch.randn(38, BATCH, 128)
    rows_first = x.transpose(0, 1).contiguous()
    with torch.no_grad():
        gap = (layer(x).transpose(0, 1) - loop(rows_first)).abs().max().item()
    seconds = alternating(
        {
            "feature": _pass(layer, x),
            "loop": _pass(loop, rows_first),
            "unbound": _pass(unbound, rows_first),
            "feature, Adam": _step(layer, x),
            "loop, Adam": _step(loop, rows_first),
            "unbound, Adam": _step(unbound, rows_first),
        },
        repeats,
        clock=time.process_time,
    )
    found = []
    for name, after in (("forward and backward", ""), ("training step", ", Adam")):
        own = seconds[f"feature{after}"]
        found.append(
            {
                "case": f"{name} of a layer",
                "network": "feature, unpruned",
                "parameters_M": round(_size(layer), 2),
                "ms": round(1e3 * own, 1),
                "against_loop": round(seconds[f"loop{after}"] / own, 2),
                "against_unbound_loop": round(seconds[f"unbound{after}"] / own, 2),
                "largest_difference": gap,
            }
        )
    return found


def _pass(net: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward, with the gradient of the tokens."""
    x = x.clone().requires_grad_()

    def run() -> None:
        net.zero_grad()
        x.grad = None
        net(x).square().mean().backward()

    return run


def _step(net: nn.Module, x: Tensor) -> Callable[[], None]:
    once, optimizer = _pass(net, x), torch.optim.Adam(net.parameters(), 1e-4)

    def run() -> None:
        once()
        optimizer.step()

    return run


def _call(net: nn.Module, *given: Tensor) -> Callable[[], Tensor]:
    return lambda: net(*given)


def _size(net: nn.Module) -> float:
    tables = {id(p) for n, p in net.named_parameters() if n.endswith("table")}
    return sum(p.numel() for p in net.parameters() if id(p) not in tables) / 1e6


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    found = rows(args.repeats)
    for row in found:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    for what, value, bound, met in asked(found):
        print(f"{what}: {value:.3g}, asked for {bound:g}: {'met' if met else 'MISSED'}")
    save(RESULTS / "hiformer.json", found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
