"""RT-1 in the published size: an action step by one pass and by eleven, folded batch norms.

One image is encoded in both; then the action comes from one pass of our transformer, or from a
pass of the whole history for each token, as the official code makes them (`_loop`, torch's fused
attention in both). Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.rt1
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks import RESULTS
from surform import create_model
from surform.bench.measure import alternating, save

__all__ = ["main", "row"]


def row(repeats: int) -> dict[str, Any]:
    """Milliseconds of the parts of a step, and how much faster ours are."""
    torch.manual_seed(0)
    net = create_model("rt1").eval()
    folded, encoder = net.folded(), net.tokenizer.encoder
    image, instruction = torch.rand(1, 3, 300, 300), torch.randn(1, 512)
    tokens = torch.randn(1, net.transformer.frames, net.tokenizer.tokens, 512)
    with torch.no_grad():
        modulation = net.tokenizer.modulation(instruction)
        same = torch.equal(net.transformer.last(tokens).argmax(-1), _loop(net.transformer, tokens))
        seconds = alternating(
            {
                "one_pass": lambda: net.transformer.last(tokens),
                "loop": lambda: _loop(net.transformer, tokens),
                "encoder": lambda: encoder(image, modulation),
                "folded": lambda: folded.tokenizer.encoder(image, modulation),
            },
            repeats,
            clock=time.process_time,
        )
    found: dict[str, Any] = {f"{name}_ms": round(1e3 * s, 1) for name, s in seconds.items()}
    found["pass_gain"] = round(seconds["loop"] / seconds["one_pass"], 2)
    found["folded_gain"] = round(seconds["encoder"] / seconds["folded"], 2)
    return found | {"same_tokens": same, "parameters": sum(p.numel() for p in net.parameters())}


def _loop(transformer: Any, tokens: Tensor) -> Tensor:
    """Tokens of the last action: a pass of the whole history for each."""
    places = range(-transformer.action_tokens - 1, -1)
    return torch.stack([transformer(tokens)[:, place].argmax(-1) for place in places], 1)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    found = row(args.repeats)
    for name, value in found.items():
        print(f"{name:14} {value}")
    save(RESULTS / "rt1.json", [found])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
