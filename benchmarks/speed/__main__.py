"""What share of the machine's arithmetic models reach, and where the rest of their time goes.

python -m benchmarks.speed [MODEL ...] [--repeats 5]

Each network of `benchmarks.speed.networks` is called, and trained for a step (forward, backward and
AdamW), in turns with a matrix product of 2048 x 2048, on one thread, in processor time. Writes
benchmarks/results/speed.json. Arithmetic counts the matrix products and convolutions of the literal
path of attention, so a fast path that does fewer has a larger share. Times and memory are those of
one sample; the memory is what the forward pass keeps for the backward one.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is chatty

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from benchmarks import RESULTS
from benchmarks.speed.networks import NETWORKS
from benchmarks.speed.profile import arithmetic, where_time_goes
from surform.bench.measure import GEMM_FLOPS, alternating, gemm, save

__all__ = ["main", "measure"]

Run = Callable[[], object]


def inference(net: nn.Module, given: dict[str, Any]) -> Run:
    """A call without gradients."""

    def run() -> object:
        with torch.no_grad():
            return net(**given)

    return run


def training(net: nn.Module, given: dict[str, Any]) -> Run:
    """A step of AdamW on the mean square of all that comes out."""
    steps = torch.optim.AdamW(net.parameters(), lr=1e-6, fused=True)

    def run() -> None:
        steps.zero_grad()
        found = [x for x in tree_flatten(_plain(net(**given)))[0] if isinstance(x, Tensor)]
        sum(x.float().square().mean() for x in found).backward()  # type: ignore[union-attr]
        steps.step()

    return run


def kept_bytes(net: nn.Module, given: dict[str, Any]) -> int:
    """What a forward pass keeps for the backward one, each piece of memory once."""
    own = {x.untyped_storage().data_ptr() for x in (*net.parameters(), *net.buffers())}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        memory = x.untyped_storage()
        if memory.data_ptr() not in own:
            kept[memory.data_ptr()] = memory.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        net(**given)
    return sum(kept.values())


def measure(name: str, repeats: int) -> dict[str, Any]:
    """One row: times, arithmetic, shares and memory of a sample."""
    torch.manual_seed(0)
    make, batch, inputs = NETWORKS[name]
    net, given = make(), inputs(batch)
    step = training(net.train(), given)
    step()
    memory = kept_bytes(net, given) / batch / 1e6
    goes = where_time_goes(step)
    flops = {"training": arithmetic(step)}
    taken = alternating({"unit": gemm(), "training": step}, repeats, clock=time.process_time)
    call = inference(net.eval(), given)
    flops["inference"] = arithmetic(call)
    called = alternating({"unit": gemm(), "inference": call}, repeats, clock=time.process_time)
    row: dict[str, Any] = {"model": name, "batch": batch}
    row["parameters"] = sum(p.numel() for p in net.parameters())
    for kind, found in (("inference", called), ("training", taken)):
        rate = flops[kind] / found[kind]
        row[f"{kind}_ms"] = 1e3 * found[kind] / batch
        row[f"{kind}_mflop"] = flops[kind] / batch / 1e6
        row[f"{kind}_share"] = rate / (GEMM_FLOPS / found["unit"])
    row["kept_mb"] = memory
    return row | {f"step_in_{name}": share for name, share in goes.items()}


def show(rows: list[dict[str, Any]]) -> None:
    """One table."""
    shares = [name for name in rows[0] if name.startswith("step_in_")]
    table = Table("model", "batch", "call [ms]", "of GEMM rate", "step [ms]", "of GEMM rate",
                  "kept [MB]", *(name[8:].replace("_", " ") for name in shares))  # fmt: skip
    for row in rows:
        table.add_row(
            row["model"],
            str(row["batch"]),
            f"{row['inference_ms']:.3g}",
            f"{row['inference_share']:.0%}",
            f"{row['training_ms']:.3g}",
            f"{row['training_share']:.0%}",
            f"{row['kept_mb']:.3g}",
            *(f"{row[share]:.0%}" for share in shares),
        )
    Console(width=150).print(table)


def _plain(found: Any) -> Any:
    """Named results as a dict of their tensors."""
    if isinstance(found, Tensor | tuple | list | dict):
        return found
    return vars(found)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*NETWORKS, []], help="none: all")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.models or NETWORKS:
        rows.append(measure(name, options.repeats))
        print(name, flush=True)
    show(rows)
    if not options.models:
        save(RESULTS / "speed.json", rows)


if __name__ == "__main__":
    main()
