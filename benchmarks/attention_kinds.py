"""Efficient kinds of attention: time and memory over lengths, and ListOps learned with several.

python -m benchmarks.attention_kinds [--longest 8192] [--learn]

Times are of processor time on a CPU, so that other programs do not count; memory is the most held
beside inputs and results. With `--learn`, `lra/listops-short` is trained with softmax and other
kinds from the same seed on the same sequences. Writes benchmarks/results/attention-kinds.json and
listops.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which counts memory, is chatty

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import RESULTS
from benchmarks.attention import cost
from surform.attention.dispatch import Sizes, example, explain
from surform.attention.timing import heads_inside, time_kernels
from surform.bench.measure import save

KINDS = ("softmax", "additive", "delta", "knn", "lsh", "multiresolution", "spectral")
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
LEARNED = ("softmax", "delta", "additive", "spectral", "lsh", "multiresolution")


def measure(kind: str, tokens: int, backward: bool, repeats: int) -> dict[str, Any]:
    """One row: the chosen kernel for one sample of four heads of 64."""
    args, kwargs = example(kind, Sizes(heads=4, tokens=tokens), heads_inside)
    if kind == "spectral":  # features are positive
        args = (*(x.exp() for x in args[:2]), args[2])
    chosen = explain(kind, *args, **kwargs).chosen
    if backward and kind == "knn":  # trained as softmax
        return {}
    taken = time_kernels(kind, args, kwargs, backward=backward, repeats=repeats, only={chosen})[
        chosen
    ]
    return {
        "kind": kind,
        "tokens": tokens,
        "kernel": chosen,
        "pass": "forward+backward" if backward else "forward",
        "milliseconds": cost(taken),
        "extra_bytes": taken.extra_bytes,
    }


def learn(
    kind: str, folder: Path, epochs: int, samples: int, lengths: tuple[int, int]
) -> dict[str, Any]:
    """One row: accuracy on test sequences, and what training took."""
    from surform.cli import main as surform

    held = samples // 20
    words = f"fit --config lra/listops-short --model.attention {kind} --out {folder / kind}"
    words += f" --data.path {folder / 'listops.zarr'} --trainer.max_epochs {epochs} --no_report"
    made = {"solver": "listops", "samples": samples}
    made |= dict(zip(("min_length", "max_length"), lengths, strict=True))
    split = {"train": samples - 2 * held, "validation": held, "test": held}
    more = ["--data.generate", json.dumps(made), "--data.split", json.dumps(split)]
    start = time.process_time()
    if surform([*words.split(), *more]):
        raise RuntimeError(f"training with {kind} attention failed")
    seconds = time.process_time() - start
    surform(["test", "--ckpt_path", "best", "--out", str(folder / kind)])
    found = json.loads((folder / kind / "test.json").read_text(encoding="utf-8"))
    return {
        "attention": kind,
        "epochs": epochs,
        "training_sequences": split["train"],
        "shortest": lengths[0],
        "longest": lengths[1],
        "processor_seconds": seconds,
        "test_top1": found["test/top1/clean"],
        "test_loss": found["test/loss/clean"],
    }


def show(rows: list[dict[str, Any]]) -> None:
    """One table."""
    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values()))
    Console(width=130).print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--longest", type=int, default=LENGTHS[-1])
    parser.add_argument("--forward", action="store_true", help="leave gradients out")
    parser.add_argument("--learn", action="store_true", help="train on ListOps instead")
    parser.add_argument("--kinds", nargs="+", default=None, choices=KINDS)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--lengths", type=int, nargs=2, default=(7, 65), help="published: 500 2000")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.learn:
        with tempfile.TemporaryDirectory() as folder:
            kinds = args.kinds or LEARNED
            rows = [
                learn(kind, Path(folder), args.epochs, args.samples, args.lengths) for kind in kinds
            ]
        out = args.out or RESULTS / "listops.json"
    else:
        passes = (False,) if args.forward else (False, True)
        rows = [
            measure(kind, tokens, backward, args.repeats)
            for kind in args.kinds or KINDS
            for tokens in LENGTHS
            if tokens <= args.longest
            for backward in passes
        ]
        rows = [row for row in rows if row]
        out = args.out or RESULTS / "attention-kinds.json"
    show(rows)
    save(out, rows)


if __name__ == "__main__":
    main()
