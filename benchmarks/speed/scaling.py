"""How training grows with the batch, with tokens and with processes: one figure.

python -m benchmarks.speed.scaling

Samples a second of processor time by batch, seconds of a step by tokens (the sequence encoder, with
several kinds of attention), on one thread; samples a second of wall-clock time by processes of one
thread each, which share their gradients (DDP, gloo). Writes benchmarks/results/speed-scaling.json
and docs/images/speed-scaling.png.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks import RESULTS
from benchmarks.speed.__main__ import training
from benchmarks.speed.networks import NETWORKS
from surform.bench.measure import alternating, save
from surform.registry import create_model
from surform.reports.images import png

__all__ = ["main"]

BATCHES = (2, 4, 8, 16, 32, 64)
TOKENS = (128, 256, 512, 1024, 2048)
KINDS = ("softmax", "additive", "delta", "spectral", "lsh", "multiresolution")
MODELS = ("itransformer", "dit_policy", "jetformer", "hiformer", "equiformer_v2", "cct")
_IMAGES = Path(__file__).parents[2] / "docs" / "images"


def by_batch(name: str, repeats: int) -> list[dict[str, Any]]:
    """Samples a second of one thread."""
    torch.manual_seed(0)
    make, usual, inputs = NETWORKS[name]
    net, rows = make().train(), []
    for batch in BATCHES:
        if batch > 4 * usual:
            break
        step = training(net, inputs(batch))
        taken = alternating({"step": step}, repeats, clock=time.process_time)["step"]
        rows.append({"model": name, "batch": batch, "samples_per_second": batch / taken})
    return rows


def by_tokens(kind: str, repeats: int) -> list[dict[str, Any]]:
    """Seconds of a step with one sequence."""
    rows = []
    for tokens in TOKENS:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"vocab_size": 16, "length": tokens, "num_classes": 10}
        net = create_model("sequence_encoder", **sizes, dim=128, depth=2, attention=kind).train()
        step = training(net, {"tokens": torch.randint(1, 16, (1, tokens))})
        taken = alternating({"step": step}, repeats, clock=time.process_time)["step"]
        rows.append({"model": f"sequence_encoder, {kind}", "tokens": tokens, "step_s": taken})
    return rows


def by_processes(name: str, processes: int, steps: int = 20) -> dict[str, Any]:
    """Samples a second of all processes together."""
    with tempfile.TemporaryDirectory() as folder:
        given = (name, processes, steps, folder)
        multiprocessing.spawn(_train, given, nprocs=processes)  # type: ignore[attr-defined]
        seconds = max(float(path.read_text()) for path in Path(folder).glob("*.seconds"))
    samples = processes * steps * NETWORKS[name][1]
    return {"model": name, "processes": processes, "samples_per_second": samples / seconds}


def _train(rank: int, name: str, processes: int, steps: int, folder: str) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=processes)
    torch.manual_seed(rank)
    make, batch, inputs = NETWORKS[name]
    step = training(
        DistributedDataParallel(make().train(), find_unused_parameters=True), inputs(batch)
    )
    for _ in range(3):
        step()
    distributed.barrier()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    Path(folder, f"{rank}.seconds").write_text(str(time.perf_counter() - start))
    distributed.destroy_process_group()


def draw(rows: list[dict[str, Any]]) -> bytes:
    """Three panels: batch, tokens, processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes: Any = figure.subplots(1, 3)
    parts = (
        ("batch", "samples_per_second", "samples a second, of those of the first"),
        ("tokens", "step_s", "step with one sequence [s]"),
        ("processes", "samples_per_second", "samples a second, of those of one"),
    )
    for ax, (along, value, label) in zip(axes, parts, strict=True):
        shown = [row for row in rows if along in row]
        for name in dict.fromkeys(row["model"] for row in shown):
            own = [row for row in shown if row["model"] == name]
            unit = 1 if along == "tokens" else own[0][value]
            x, y = [row[along] for row in own], [row[value] / unit for row in own]
            ax.plot(x, y, marker="o", label=name.removeprefix("sequence_encoder, "))
        if along != "processes":
            ax.set(xscale="log", yscale="log")
        ticks = sorted({row[along] for row in shown})
        ax.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        ax.set(xlabel=along, ylabel=label)
        ax.minorticks_off()
        ax.legend(fontsize="small")
        ax.grid(alpha=0.3)
    return png(figure, dpi=90)


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in MODELS:
        rows += by_batch(name, options.repeats)
    for kind in KINDS:
        rows += by_tokens(kind, options.repeats)
    for name in MODELS:
        rows += [by_processes(name, n) for n in range(1, (os.cpu_count() or 1) + 1)]
    for row in rows:
        print(row)
    save(RESULTS / "speed-scaling.json", rows)
    (_IMAGES / "speed-scaling.png").write_bytes(draw(rows))


if __name__ == "__main__":
    main()
