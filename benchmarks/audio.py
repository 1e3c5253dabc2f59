"""Spectrogram transformers in published sizes: ours, the formulas taken literally, Patchout.

The literal path (`tests/audio/literal_audio.py`, same weights) convolves every patch, writes every
score out, and adds adapters' outputs in the same way. A training step is forward, backward and
AdamW. Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.audio
    python -m benchmarks.audio --depth 3   # of 12 blocks, which cost alike: a quarter of the time
    python -m benchmarks.audio --quick     # what Patchout gains in training, with 2 of 12 blocks
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
from surform.audio.ast import AST
from surform.audio.passt import PaSST
from surform.bench.measure import alternating, save
from tests.audio.literal_audio import literal_ast, literal_passt

__all__ = ["main", "patchout_row", "rows"]

_PATCHOUT = {"patchout_time": 40, "patchout_frequency": 4}
ACCEPTANCE = {"passt-s": {"patchout_gain": 2.0}}


def rows(depth: int, repeats: int) -> list[dict[str, Any]]:
    """Seconds per step of AST and PaSST, batch 1, and the gains over the literal formulas."""
    torch.manual_seed(0)
    ast, long = AST(depth=depth), torch.randn(1, 1024, 128)
    passt, short = PaSST(depth=depth), torch.randn(1, 998, 128)
    runs = {
        "ast evaluation": _evaluation(ast, lambda: ast(long)),
        "ast literal evaluation": _evaluation(ast, lambda: literal_ast(ast, long)),
        "ast training": _training(ast, lambda: ast(long)),
        "ast literal training": _training(ast, lambda: literal_ast(ast, long)),
        "passt evaluation": _evaluation(passt, lambda: passt(short)),
        "passt literal evaluation": _evaluation(passt, lambda: literal_passt(passt, short)),
    }
    seconds = alternating(runs, repeats, clock=time.process_time)
    first: dict[str, Any] = {"name": "ast-base", "depth": depth}
    for kind in ("evaluation", "training"):
        first[f"{kind}_s"] = round(seconds[f"ast {kind}"], 3)
        first[f"{kind}_gain"] = round(seconds[f"ast literal {kind}"] / seconds[f"ast {kind}"], 2)
    second = patchout_row(depth, repeats)
    second["evaluation_s"] = round(seconds["passt evaluation"], 3)
    gain = seconds["passt literal evaluation"] / seconds["passt evaluation"]
    second["evaluation_gain"] = round(gain, 2)
    return [first, second]


def patchout_row(depth: int, repeats: int) -> dict[str, Any]:
    """Seconds per training step of PaSST without and with Patchout, and their ratio."""
    torch.manual_seed(0)
    whole, part = PaSST(depth=depth), PaSST(depth=depth, **_PATCHOUT)
    x = torch.randn(1, 998, 128)
    runs = {
        "training": _training(whole, lambda: whole(x)),
        "patchout": _training(part, lambda: part(x)),
    }
    seconds = alternating(runs, repeats, clock=time.process_time)
    return {
        "name": "passt-s",
        "depth": depth,
        "training_s": round(seconds["training"], 3),
        "patchout_training_s": round(seconds["patchout"], 3),
        "patchout_gain": round(seconds["training"] / seconds["patchout"], 2),
    }


def _evaluation(net: nn.Module, path: Callable[[], Tensor]) -> Callable[[], object]:
    def run() -> Tensor:
        net.eval()
        with torch.inference_mode():
            return path()

    return run


def _training(net: nn.Module, path: Callable[[], Tensor]) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5)

    def run() -> None:
        net.train()
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(path(), torch.zeros(1, 527)).backward()
        optimizer.step()

    return run


def main(arguments: list[str] | None = None) -> None:
    """Measure, print one table, write results/audio.json."""
    parser = argparse.ArgumentParser(description="AST and PaSST: ours and the literal formulas")
    parser.add_argument("--quick", action="store_true", help="Patchout alone, 2 of 12 blocks")
    parser.add_argument("--depth", type=int, default=12, help="blocks of each network")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = [patchout_row(2, 1)] if options.quick else rows(options.depth, options.repeats)
    columns = ("evaluation_s", "evaluation_gain", "training_s", "training_gain")
    columns += ("patchout_training_s", "patchout_gain")
    table = Table(title="spectrogram transformers, one thread, batch 1")
    table.add_column("network")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for one in found:
        table.add_row(one["name"], *(str(one.get(column, "")) for column in columns))
    Console(width=140).print(table)
    if not options.quick:
        save(RESULTS / "audio.json", found, acceptance=ACCEPTANCE)


if __name__ == "__main__":
    main()
