"""Time, memory and arithmetic of one case: ours, our literal attention, and the peer, in turns."""

from __future__ import annotations

from typing import Any

import torch

from surform import attention
from surform.bench.cases import CASES, Case
from surform.bench.flops import minimal_flops
from surform.bench.measure import GEMM_FLOPS, alternating, gemm, peak_memory

__all__ = ["COLUMNS", "measure"]

# key of a row -> heading of the printed table
COLUMNS = {
    "case": "case",
    "parameters": "parameters",
    "forward_ms": "forward [ms]",
    "training_ms": "forward+backward [ms]",
    "forward_units": "forward [GEMM]",
    "training_units": "f+b [GEMM]",
    "forward_share": "share of GEMM rate",
    "forward_gain": "gain over reference",
    "training_gain": "f+b gain",
    "forward_mb": "memory [MB]",
    "training_mb": "f+b memory [MB]",
    "peer_forward_ms": "FNO forward [ms]",
    "peer_training_ms": "FNO f+b [ms]",
}

_PROGRAM = """
import torch
torch.set_num_threads({threads})
from surform.bench.cases import CASES
case = CASES[{name!r}]
net = case.build()
u, coordinates = case.inputs()
def run():
    if {training}:
        net(u, coordinates).square().mean().backward()
    else:
        with torch.no_grad():
            net.eval()(u, coordinates)
"""


def measure(name: str, repeats: int = 5) -> dict[str, Any]:
    """One row of the table for `CASES[name]`, under the present number of threads."""
    case = CASES[name]
    net = case.build()
    u, coordinates = case.inputs()

    def forward() -> Any:
        with torch.no_grad():
            return net.eval()(u, coordinates)

    def training() -> None:
        net.zero_grad()
        net.train()(u, coordinates).square().mean().backward()

    def literally(run: Any) -> Any:
        def call() -> Any:
            with attention.use("reference"):
                return run()

        return call

    runs = {"unit": gemm(), "forward": forward, "training": training}
    runs |= {"literal forward": literally(forward), "literal training": literally(training)}
    runs |= _peer_runs(case)
    seconds = alternating(runs, repeats)
    flops = minimal_flops(net, case.batch, case.grid)
    units = {name: value / seconds["unit"] for name, value in seconds.items()}
    row = {
        "case": name,
        "parameters": sum(p.numel() for p in net.parameters()),
        "forward_ms": 1e3 * seconds["forward"],
        "training_ms": 1e3 * seconds["training"],
        "forward_units": units["forward"],
        "training_units": units["training"],
        "forward_share": None if flops is None else flops / GEMM_FLOPS / units["forward"],
        "forward_gain": seconds["literal forward"] / seconds["forward"],
        "training_gain": seconds["literal training"] / seconds["training"],
    }
    for key, training_run in (("forward_mb", False), ("training_mb", True)):
        threads = torch.get_num_threads()
        row[key] = peak_memory(_PROGRAM.format(name=name, training=training_run, threads=threads))
    if "peer forward" in seconds:
        row["peer_forward_ms"] = 1e3 * seconds["peer forward"]
        row["peer_training_ms"] = 1e3 * seconds["peer training"]
    return row


def _peer_runs(case: Case) -> dict[str, Any]:
    pair = case.peer()
    if pair is None:
        return {}
    fno, x = pair

    def forward() -> Any:
        with torch.no_grad():
            return fno.eval()(x)

    def training() -> None:
        fno.zero_grad()
        fno.train()(x).square().mean().backward()

    return {"peer forward": forward, "peer training": training}
