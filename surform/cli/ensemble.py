"""`surform ensemble`: several runs as one model, with a mean, a spread and intervals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["EXAMPLE", "HELP", "add_arguments", "run"]

HELP = (
    "Join runs that differ in their seeds into one model: its prediction is their mean. Its "
    "quantiles are conformal, from its errors on the validation split of the first run."
)
EXAMPLE = "surform ensemble runs/seed0 runs/seed1 --out ensemble"
_OTHERWISE = (
    ", so there are no data to calibrate on: in Python, use "
    "surform.uncertainty.Conformal(DeepEnsemble([...])).calibrate(...)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("members", nargs="+", metavar="RUN", help="run folders, at least two")
    add("--out", required=True, type=Path, metavar="FOLDER", help="where to save the model")
    add(
        "--scaled",
        action="store_true",
        help="let intervals widen where the members disagree",
    )


def run(args: argparse.Namespace) -> int:
    """Join, calibrate and save."""
    from surform.cli.load import load_any
    from surform.cli.run_data import data_of
    from surform.uncertainty import Conformal, DeepEnsemble
    from surform.uncertainty.wrapper import Wrapper

    members = []
    for source in args.members:
        model = load_any(source)
        members.append(model.innermost if isinstance(model, Wrapper) else model)
    _refuse_twins(args.members, members)
    together = DeepEnsemble(members).eval()
    data = data_of(args.members[0], _OTHERWISE)
    data.setup("validate")
    calibrated = Conformal(together, scaled=args.scaled).calibrate(data.val_dataloader())
    calibrated.save_pretrained(args.out)
    windows = int(calibrated.windows)
    print(f"{args.out}: {len(members)} members, calibrated on {windows} validation windows")
    return 0


def _refuse_twins(sources: list[str], members: list[Any]) -> None:
    """ValueError where two members have the same weights: they agree without being sure."""
    import torch

    states = [list(member.net.state_dict().values()) for member in members]
    for later, state in enumerate(states):
        for earlier in range(later):
            other = states[earlier]
            if len(state) == len(other) and all(map(torch.equal, state, other)):
                raise ValueError(
                    f"{sources[earlier]} and {sources[later]} have the same weights: give runs "
                    "that differ in their seeds"
                )
