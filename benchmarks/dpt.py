"""Acting in context in the published sizes: the history encoded anew for every step, and kept.

The official code encodes the whole history before each of 200 rounds, one bandit at a time. Ours
keeps keys and values, so that a round is one or two new tokens, and plays many bandits at once.
The literal path is a pass of the same network over the history, attention by its definition, every
tenth round of an episode. Times are CPU times of one thread, medians over the turns.

    python -m benchmarks.dpt
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import RESULTS
from surform import attention, create_model
from surform.bench.measure import alternating, save

__all__ = ["main", "row"]

ROUNDS, ACTIONS, FEATURES, EVERY = 200, 10, 5, 10
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "in_context_bandit, relu": ("in_context_bandit", {"features": FEATURES, "depth": 8}),
    "in_context_bandit, gpt2": (
        "in_context_bandit",
        {"features": FEATURES, "depth": 8, "backbone": "gpt2", "heads": 4},
    ),
    "dpt": ("dpt", {"depth": 4}),
}


def row(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of a round of one bandit, and of one among `batch`; training steps."""
    torch.manual_seed(0)
    kind, given = NETS[name]
    net: Any = create_model(kind, actions=ACTIONS, horizon=ROUNDS, dim=32, **given).eval()
    one, many = _history(1), _history(batch)
    with torch.no_grad():
        difference = (_again(net, one, 100) - _kept(net, one, 100)).abs().max().item()
        seconds = alternating(
            {
                "literal": lambda: [_literal(net, one, n) for n in range(0, ROUNDS, EVERY)],
                "kept": lambda: _kept(net, one, ROUNDS),
                "many": lambda: _kept(net, many, ROUNDS),
            },
            repeats,
            clock=time.process_time,
        )
    training = alternating(
        {"literal": _reference(_training(net)), "ours": _training(net)},
        repeats,
        clock=time.process_time,
    )
    literal = 1e3 * seconds["literal"] / (ROUNDS / EVERY)
    kept = 1e3 * seconds["kept"] / ROUNDS
    side_by_side = 1e3 * seconds["many"] / ROUNDS / batch
    return {
        "network": name,
        "literal_ms": round(literal, 3),
        "kept_ms": round(kept, 3),
        "side_by_side_ms": round(side_by_side, 4),
        "kept_gain": round(literal / kept, 1),
        "side_by_side_gain": round(literal / side_by_side, 1),
        "difference": difference,
        "literal_training_ms": round(1e3 * training["literal"], 1),
        "training_ms": round(1e3 * training["ours"], 1),
        "parameters": sum(p.numel() for p in net.parameters()),
    }


History = tuple[Tensor, Tensor, Tensor]


def _history(batch: int) -> History:
    arms = torch.rand(batch, ACTIONS, FEATURES)
    actions = F.one_hot(torch.randint(ACTIONS, (batch, ROUNDS)), ACTIONS).float()
    return arms, actions, torch.randn(batch, ROUNDS)


def _again(net: Any, history: History, rounds: int) -> Tensor:
    """Logits after so many rounds, from a pass over all of them."""
    arms, actions, rewards = history[0], history[1][:, :rounds], history[2][:, :rounds]
    if net.situation == "arms":
        return net(arms, actions, rewards)[:, -1]
    state = rewards.new_ones(*rewards.shape, 1)
    return net(rewards.new_ones(len(rewards), 1), state, actions, state, rewards)[:, -1]


def _literal(net: Any, history: History, rounds: int) -> Tensor:
    with attention.use("reference"):
        return _again(net, history, rounds)


def _kept(net: Any, history: History, rounds: int) -> Tensor:
    """The same, round after round."""
    arms, actions, rewards = history
    situation = arms if net.situation == "arms" else rewards.new_ones(len(rewards), 1)
    logits, memory = net.begin(situation)
    for number in range(rounds):
        logits, memory = net.advance(actions[:, number], rewards[:, number], memory)
    return logits


def _training(net: Any) -> Callable[[], object]:
    """Forward and backward of 16 contexts."""
    history = _history(16)

    def run() -> None:
        net.zero_grad()
        _again(net, history, ROUNDS).square().mean().backward()

    return run


def _reference(run: Callable[[], object]) -> Callable[[], object]:
    def literally() -> None:
        with attention.use("reference"):
            run()

    return literally


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64, help="bandits side by side")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    rows = []
    for name in NETS:
        rows.append(row(name, args.batch, args.repeats))
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    save(RESULTS / "dpt.json", rows, side_by_side=args.batch)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
