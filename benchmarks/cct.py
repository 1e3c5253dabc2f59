"""Compact transformers in published sizes: ours, the formulas taken literally, and vit-pytorch.

The literal path (`tests/vision/literal_cct.py`, same weights) computes as the official code does:
ReLU before pooling, every score written out, torch's dropout, skipped branches computed and thrown
away. vit-pytorch's CCT, where installed, has the same weights, too. A training step is forward,
backward and AdamW. Times are CPU times of one thread, medians over the turns.

Where the processor multiplies bfloat16, every size has a second row: all paths under the autocast
of `trainer.precision bf16-mixed`, and how much faster ours is than the literal path in float32.

    python -m benchmarks.cct
    python -m benchmarks.cct --quick        # the smallest size alone
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks import RESULTS
from surform.bench.measure import alternating, peak_memory, save
from surform.hub.official.cct import SYSTEM
from surform.vision.published import published
from tests.vision.literal_cct import literal_forward

__all__ = ["main", "row"]

_MIXED = " bf16-mixed"
CASES: dict[str, int] = {  # published name: batch
    "cct_2_3x2_32": 32,
    "cct_7_3x1_32": 8,
    "vit_7_4_32": 32,
    "cct_14_7x2_224": 4,
}
GAINS = {"evaluation_gain": 2.0, "training_gain": 1.7}


def row(name: str, repeats: int, memory: bool = True, mixed: bool = False) -> dict[str, Any]:
    """Milliseconds of ours, the literal path and the peer, gains and memory of one size.

    Args:
        mixed: all of them under bfloat16 autocast; the literal path in float32, too.
    """
    torch.manual_seed(0)
    net, batch = published(name), CASES[name]
    x = torch.randn(batch, 3, *net.image_size)
    target = torch.randint(net.encoder.head.out_features, (batch,))
    paths: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "": (net, lambda: net(x)),
        "literal ": (net, lambda: literal_forward(net, x)),
    }
    peer = _peer(net)
    if peer is not None:
        paths["peer "] = (peer, lambda: peer(x))
    if mixed:
        literal = paths["literal "]
        paths = {label: (module, _autocast(path)) for label, (module, path) in paths.items()}
        paths["float32 "] = literal
    runs: dict[str, Callable[[], object]] = {}
    for label, (module, path) in paths.items():
        runs[f"{label}evaluation"] = _evaluation(module, path)
        runs[f"{label}training"] = _training(module, path, target)
    seconds = alternating(runs, repeats, clock=time.process_time)
    found: dict[str, Any] = {"name": f"{name}{_MIXED * mixed}", "batch": batch}
    found["parameters"] = sum(p.numel() for p in net.parameters())
    for kind in ("evaluation", "training"):
        found[f"{kind}_ms"] = round(1e3 * seconds[kind], 1)
        for other in ("literal", "peer", "float32"):
            if f"{other} {kind}" in seconds:
                their = seconds[f"{other} {kind}"]
                found[f"{other}_{kind}_ms"] = round(1e3 * their, 1)
                gain = f"{kind}_gain" if other == "literal" else f"{kind}_gain_over_{other}"
                found[gain] = round(their / seconds[kind], 2)
    if memory:
        for label, call in (("", "net(x)"), ("literal_", "literal_forward(net, x)")):
            found[f"{label}training_mb"] = round(peak_memory(_program(name, call, mixed)))
    return found


def _autocast(path: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return path().float()

    return run


def _peer(net: nn.Module) -> nn.Module | None:
    """vit-pytorch's CCT with the same weights; None for other classes or without the package."""
    try:
        from vit_pytorch import cct as peers
    except ImportError:
        return None
    given = SYSTEM.describe(net) if SYSTEM.describe is not None else None
    if given is None or given.pop("class") != "CCT":
        return None
    given["dropout_rate"] = given.pop("dropout")
    given["stochastic_depth_rate"] = given.pop("stochastic_depth")
    theirs = peers.CCT(**given)
    theirs.load_state_dict(SYSTEM.to_official(net.state_dict(), given))
    return theirs


def _evaluation(net: nn.Module, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> Tensor:
        net.eval()
        with torch.inference_mode():
            return path()

    return run


def _training(net: nn.Module, path: Callable[[], Tensor], target: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-4)

    def run() -> None:
        net.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(path(), target).backward()
        optimizer.step()

    return run


def _program(name: str, call: str, mixed: bool) -> str:
    """Source of one training pass in a process of its own, after a small one."""
    return (
        "import torch; torch.set_num_threads(1)\n"
        "from surform.vision.published import published\n"
        "from tests.vision.literal_cct import literal_forward\n"
        f"net = published({name!r})\n"
        f"x = torch.randn({CASES[name]}, 3, *net.image_size)\n"
        "def run():\n"
        f"    with torch.autocast('cpu', torch.bfloat16, enabled={mixed}):\n"
        f"        out = {call}.float()\n"
        "    out.square().mean().backward()\n"
        "everything, x = x, x[:1]\n"
        "run()\n"
        "x = everything\n"
    )


def _acceptance() -> dict[str, dict[str, float]]:
    """Of mixed precision, the gain over the literal path in float32 counts."""
    mixed = {f"{gain}_over_float32": least for gain, least in GAINS.items()}
    return dict.fromkeys(CASES, GAINS) | {f"{name}{_MIXED}": mixed for name in CASES}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/cct.json."""
    parser = argparse.ArgumentParser(description="CCT: ours, the literal formulas, vit-pytorch")
    parser.add_argument("--quick", action="store_true", help="the smallest size alone")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = [name for name in CASES if name.startswith("cct_2") or not options.quick]
    kinds = (False, True) if torch.cpu._is_avx512_bf16_supported() else (False,)
    found = [
        row(name, options.repeats, memory=not options.quick, mixed=mixed)
        for mixed in kinds
        for name in names
    ]
    columns = ("evaluation_ms", "evaluation_gain", "evaluation_gain_over_peer", "training_ms")
    columns += ("training_gain", "training_gain_over_peer", "training_mb", "literal_training_mb")
    columns += ("evaluation_gain_over_float32", "training_gain_over_float32")
    table = Table(title="compact transformers, one thread")
    table.add_column("size")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for one in found:
        table.add_row(one["name"], *(str(one.get(column, "")) for column in columns))
    Console(width=190).print(table)
    if not options.quick:
        save(RESULTS / "cct.json", found, acceptance=_acceptance())


if __name__ == "__main__":
    main()
