"""Regret of a trained agent in linear bandits that it has not seen, beside the algorithms'.

Prints means and standard errors after 200 rounds, writes them and draws docs/images/dpt-regret.png.

    surform fit --config decisions/dpt-linear-bandit --out runs/dpt
    python -m benchmarks.dpt_regret --model runs/dpt/model
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import surform
from benchmarks import RESULTS
from surform.bench.measure import save
from surform.data.atomic import replacing
from surform.data.decisions_samples import BLOCK, WorldSamples
from surform.decisions.decision_figures import curve_figure
from surform.decisions.regret import regrets
from surform.reports.images import png

__all__ = ["main", "measured"]

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "dpt-regret.png"
SEED = 1_000_003  # of no recipe


def measured(model: str, worlds: int, temperatures: Sequence[float]) -> dict[str, Tensor]:
    """Cumulative regret (worlds, rounds) of the agent, also at `temperatures`, and all players."""
    agent: Any = surform.load_model(model)
    about = agent.description
    source = WorldSamples(about.setting, {"uniform": 1.0}, about.rounds, worlds, "test", SEED)
    parts = []
    for first in range(0, worlds, BLOCK):
        batch = source[list(range(first, min(first + BLOCK, worlds)))]
        found = regrets(agent, about.setting, batch.world, about.rounds, SEED + first, temperatures)
        parts.append(found)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="runs/dpt/model", help="a saved agent")
    parser.add_argument("--worlds", type=int, default=2048)
    parser.add_argument("--temperatures", type=float, nargs="*", default=[0.8])
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    curves = measured(args.model, args.worlds, args.temperatures)
    thompson = curves["thompson"][:, -1]
    rows = []
    for name, curve in curves.items():
        end = curve[:, -1]
        rows.append(
            {
                "player": name,
                "regret": end.mean().item(),
                "standard_error": (end.std() / len(end) ** 0.5).item(),
                "over_thompson": (end.mean() / thompson.mean()).item(),
                "difference": (end - thompson).mean().item(),
                "error_of_difference": ((end - thompson).std() / len(end) ** 0.5).item(),
            }
        )
        print(", ".join(f"{k} {v:.4g}" if k != "player" else v for k, v in rows[-1].items()))
    save(RESULTS / "dpt-regret.json", rows, model=args.model, worlds=args.worlds)
    moments = {n: torch.stack((c.mean(0), c.square().mean(0)), -1) for n, c in curves.items()}
    figure = curve_figure(moments, args.worlds, "cumulative regret")
    with replacing(PICTURE) as partial:
        partial.write_bytes(png(figure, dpi=110))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
