"""ViTPose in published sizes: ours against its formulas taken literally and against transformers.

The literal path (`tests/vision/literal_vitpose.py`, same weights) computes as the official code
does: written-out softmax, norms after convolutions, upsampling before the last convolution, every
expert on every token; in training it multiplies what stochastic depth skips by zero. transformers
runs its own class with weights of ours, in evaluation only: it does not train. A training step is
forward, mean squared error and backward. Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.vitpose
    python -m benchmarks.vitpose --quick      # S alone, few turns, not written
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks import RESULTS
from surform.bench.measure import alternating, save
from surform.hub.hugging_face import save_hugging_face
from surform.registry import create_model
from surform.vision.heatmap_decoding import METHODS, decode
from surform.vision.heatmap_targets import make_targets
from surform.vision.pose_estimator import PoseEstimator
from surform.vision.vitpose import SIZES
from tests.vision.literal_vitpose import literal_forward

__all__ = ["decoding_row", "main", "plain_row", "plus_row"]

Runs = dict[str, Callable[[], object]]
PART = {"s": 192, "b": 192}  # part_features
PLAIN = (("s", "classic"), ("s", "simple"), ("b", "classic"), ("b", "simple"))
ACCEPTANCE = {  # least gains, and the most that experts may cost
    "vitpose": {"gain_over_transformers": 1.0, "best_gain_over_transformers": 1.15},
    "vitpose-plus": {"over_plain": 1.1},
}


def plain_row(size: str, decoder: str, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of ours, of the literal path and of transformers, and gains."""
    torch.manual_seed(0)
    net = create_model("vitpose", decoder=decoder, **SIZES[size])
    theirs, half = _transformers(net), copy.deepcopy(net).bfloat16().eval()
    half_theirs = copy.deepcopy(theirs).bfloat16()
    images, target = torch.randn(batch, 3, 256, 192), torch.randn(batch, 17, 64, 48)
    halves = images.bfloat16()
    runs: Runs = {
        "evaluation": _evaluation(net, lambda: net(images)),
        "literal_evaluation": _evaluation(net, lambda: literal_forward(net, images)),
        "transformers": _evaluation(theirs, lambda: theirs(images).heatmaps),
        "bfloat16": _evaluation(half, lambda: half(halves)),
        "transformers_bfloat16": _evaluation(half_theirs, lambda: half_theirs(halves).heatmaps),
        "training": _training(net, lambda: net(images), target),
        "literal_training": _training(net, lambda: literal_forward(net, images), target),
    }
    exact: Any = runs["evaluation"]()  # before training moves the statistics of batch norms
    rounded: Any = runs["bfloat16"]()
    error = (rounded.float() - exact).abs().max() / exact.abs().max()
    ms = _measured(runs, repeats)
    return {
        "name": f"{size.upper()}, {decoder}",
        "batch": batch,
        **{f"{name}_ms": round(value, 1) for name, value in ms.items()},
        "gain_over_literal": _ratio(ms["literal_evaluation"], ms["evaluation"]),
        "gain_over_transformers": _ratio(ms["transformers"], ms["evaluation"]),
        "best_gain_over_transformers": _ratio(ms["transformers"], ms["bfloat16"]),
        "gain_over_transformers_bfloat16": _ratio(ms["transformers_bfloat16"], ms["bfloat16"]),
        "training_gain": _ratio(ms["literal_training"], ms["training"]),
        "bfloat16_error": round(float(error), 4),
    }


def plus_row(size: str, batch: int, repeats: int, training: bool) -> dict[str, Any]:
    """ViTPose+ beside the plain network, and beside all experts and heads on all samples."""
    torch.manual_seed(0)
    plain = create_model("vitpose", **SIZES[size])
    net = create_model("vitpose_plus", part_features=PART[size], **SIZES[size])
    images = torch.randn(batch, 3, 256, 192)
    one, mixed = torch.zeros(batch, dtype=torch.int64), torch.arange(batch) % 6
    runs: Runs = {
        "plain": _evaluation(plain, lambda: plain(images)),
        "one_data_set": _evaluation(net, lambda: net(images, one)),
        "mixed": _evaluation(net, lambda: net(images, mixed)),
        "literal": _evaluation(net, lambda: literal_forward(net, images, mixed)),
    }
    if training:
        target = torch.randn(batch, sum(net.joints), 64, 48)
        paths = {
            "training": lambda: torch.cat(net.all_heads(images, mixed), 1),
            "literal_training": lambda: torch.cat(literal_forward(net, images, mixed), 1),
        }
        runs |= {name: _training(net, path, target) for name, path in paths.items()}
    ms = _measured(runs, repeats)
    row = {
        "name": f"{size.upper()} plus",
        "batch": batch,
        **{f"{name}_ms": round(value, 1) for name, value in ms.items()},
        "one_data_set_over_plain": _ratio(ms["one_data_set"], ms["plain"]),
        "mixed_over_plain": _ratio(ms["mixed"], ms["plain"]),
        "gain_over_literal": _ratio(ms["literal"], ms["mixed"]),
    }
    if training:
        row["training_gain"] = _ratio(ms["literal_training"], ms["training"])
    return row


def decoding_row(persons: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of each decoding of so many persons' 17 heatmaps of 64 x 48."""
    torch.manual_seed(0)
    joints = torch.rand(persons, 17, 2) * torch.tensor([180.0, 240.0])
    maps, _ = make_targets(joints, torch.ones(persons, 17), (256, 192), (64, 48), "udp")
    maps = maps + 0.01 * torch.rand_like(maps)
    offsets = maps.repeat_interleave(3, 1)
    runs: Runs = {
        name: lambda name=name: decode(offsets if name == "combined" else maps, name)
        for name in METHODS
    }
    ms = _measured(runs, repeats)
    return {"name": f"decoding, {persons} persons", "batch": persons} | {
        f"{name}_ms": round(value, 2) for name, value in ms.items()
    }


def _transformers(net: nn.Module) -> Any:
    from transformers import VitPoseForPoseEstimation
    from transformers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        path = save_hugging_face(PoseEstimator(net), Path(folder) / "model")
        return VitPoseForPoseEstimation.from_pretrained(path).eval()


def _evaluation(net: nn.Module, path: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        net.eval()
        with torch.inference_mode():
            return path()

    return run


def _training(net: nn.Module, path: Callable[[], Tensor], target: Tensor) -> Callable[[], object]:
    def run() -> None:
        net.train()
        net.zero_grad()
        (path() - target).square().mean().backward()

    return run


def _measured(runs: Runs, repeats: int) -> dict[str, float]:
    seconds = alternating(runs, repeats, warmup=1, clock=time.process_time)
    return {name: 1e3 * value for name, value in seconds.items()}


def _ratio(slow: float, fast: float) -> float:
    return round(slow / fast, 2)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, write results/vitpose.json and its neighbours."""
    parser = argparse.ArgumentParser(description="ViTPose: ours, the formulas, transformers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="S alone, not written")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = ("s",) if options.quick else ("s", "b")
    turns = options.repeats
    plain = [
        plain_row(size, decoder, options.batch, turns) for size, decoder in PLAIN if size in sizes
    ]
    plus = [plus_row(size, 6, turns, training=size == "s") for size in sizes]
    results = {
        "vitpose": plain,
        "vitpose-plus": plus,
        "heatmap-decoding": [decoding_row(32, turns)],
    }
    for name, rows in results.items():
        for row in rows:
            _show(row)
        if not options.quick:
            save(RESULTS / f"{name}.json", rows, acceptance=ACCEPTANCE.get(name, {}))


def _show(row: dict[str, Any]) -> None:
    table = Table("", "", title=f"{row['name']}, batch {row['batch']}", min_width=50)
    for name, value in row.items():
        if name not in ("name", "batch"):
            table.add_row(name.replace("_", " "), str(value))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
