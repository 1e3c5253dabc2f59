"""Policies in their published sizes, one robot, one processor core: ours and the official way.

RT-1: an action after the encoder, by one pass of our transformer and by a pass of the whole history
for each of its eleven tokens, as the official code makes them (with torch's fused attention in
both); an image by the encoder as timm runs it, and with its batch norms folded into convolutions.
DiT policy (two cameras of 224 x 224 pixels as 99 tokens, chunks of 100 actions of 14 numbers): a
chunk by eight DDIM steps after the tokens, by `sample` of a policy that is `ready_to_act` and by
the literal loop (`tests/robotics/literal_dit_policy.py`): encoder once, then in every step all
modulations, the decoder with torch's attention, and the scheduler's arithmetic. "Compiled": the
same `sample` after `ready_to_act(policy, compile=True)`; the literal loop as it is.

Times are CPU times of one thread, medians over the turns. `largest_difference` is between what
both give, relative to the largest number; for tokens it says whether they are the same.

    python -m benchmarks.robotics
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import RESULTS
from surform import create_model
from surform.bench.measure import alternating, save
from surform.hub.official.dit_policy import SYSTEM
from surform.robotics.acting import ready_to_act
from surform.robotics.diffusion import Diffusion
from surform.robotics.policy import Policy
from tests.robotics.literal_dit_policy import literal_sample

__all__ = ["GAINS", "dit_rows", "main", "rt1_rows"]

Rows = list[dict[str, Any]]
_STEPS = 8
GAINS = {
    "action after the encoder": 8.0,
    "image": 1.0,
    "chunk of actions": 1.0,
    "chunk of actions, compiled": 1.15,
}


def rt1_rows(repeats: int) -> Rows:
    """Ours and the official way of an action, and of an image."""
    torch.manual_seed(0)
    net = create_model("rt1").eval()
    folded, encoder = net.folded().tokenizer.encoder, net.tokenizer.encoder
    image, instruction = torch.rand(1, 3, 300, 300), torch.randn(1, 512)
    tokens = torch.randn(1, net.transformer.frames, net.tokenizer.tokens, 512)
    with torch.no_grad():
        modulation = net.tokenizer.modulation(instruction)
        action = _row(
            "RT-1",
            "action after the encoder",
            lambda: net.transformer.last(tokens).argmax(-1),
            lambda: _eleven_passes(net.transformer, tokens),
            repeats,
        )
        picture = _row(
            "RT-1", "image", lambda: folded(image, modulation), lambda: encoder(image, modulation),
            repeats,
        )  # fmt: skip
    return [action, picture]


def dit_rows(repeats: int) -> Rows:
    """Ours and the literal loop for a chunk."""
    torch.manual_seed(0)
    net: Any = create_model("dit_policy", action_dim=14, chunk=100, cameras=(), state_dim=14)
    policy = Policy(net)
    for parameter in policy.parameters():  # a fresh network says nothing
        nn.init.normal_(parameter, std=0.02)
    weights = SYSTEM.to_official(net.noise_net.state_dict(), {})
    tokens, start, diffusion = torch.randn(1, 99, 512), torch.randn(1, 100, 14), Diffusion(100)
    ready: dict[str, Any] = {
        "chunk of actions": ready_to_act(policy).net,
        "chunk of actions, compiled": ready_to_act(policy, compile=True).net,
    }
    with torch.no_grad():
        return [
            _row(
                "DiT policy",
                part,
                lambda one=one: one.noise_net.sample(tokens, start, diffusion, _STEPS),
                lambda: literal_sample(weights, tokens, start, _STEPS, 8),
                repeats,
            )
            for part, one in ready.items()
        ]


def _row(
    network: str,
    part: str,
    ours: Callable[[], Tensor],
    official: Callable[[], Tensor],
    repeats: int,
) -> dict[str, Any]:
    """Milliseconds of both, how much faster ours is, and how far apart they are."""
    a, b = ours(), official()
    apart = (a - b).abs().max() / b.abs().max()
    seconds = alternating({"ours": ours, "official": official}, repeats, clock=time.process_time)
    return {
        "network": network,
        "part": part,
        "ours_ms": round(1e3 * seconds["ours"], 1),
        "official_ms": round(1e3 * seconds["official"], 1),
        "gain": round(seconds["official"] / seconds["ours"], 2),
        "largest_difference": float(f"{float(apart):.1e}"),
    }


def _eleven_passes(transformer: Any, tokens: Tensor) -> Tensor:
    """Tokens of the last action: a pass of the whole history for each."""
    places = range(-transformer.action_tokens - 1, -1)
    return torch.stack([transformer(tokens)[:, place].argmax(-1) for place in places], 1)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    rows = rt1_rows(args.repeats) + dit_rows(args.repeats)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    save(RESULTS / "robotics.json", rows)
    missed = [row["part"] for row in rows if row["gain"] < GAINS[row["part"]]]
    if missed:
        print(f"slower than promised: {', '.join(missed)}")
    return len(missed)


if __name__ == "__main__":
    raise SystemExit(main())
