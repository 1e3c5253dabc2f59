"""What the commands work on: a small flow, a recipe, a trained model, an official checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["FLOW", "INPUTS", "make_inputs"]

INPUTS = "inputs"  # folder beside those in which the commands run

_RECIPE = """\
seed_everything: 3
model:
  class_path: fields
  init_args:
    net:
      class_path: factformer2d
      init_args: {input_steps: 2, max_steps: 1, dim: 8, depth: 1, heads: 1, head_dim: 8}
data:
  class_path: fields
  init_args:
    path: ../inputs/flow.zarr
    inputs: [vorticity]
    targets: [vorticity]
    input_steps: 2
    target_steps: 1
    split: {train: 2, validation: 1, test: 1}
    batch_size: 4
trainer: {max_steps: 12, max_epochs: -1, accelerator: cpu}
"""
FLOW = ["--grid", "16", "--frames", "8", "--spin-up", "0.2", "--forcing-wavenumber", "2"]
FLOW += ["--dt", "0.02"]


def make_inputs(root: Path) -> None:
    """Fill `root/inputs`; called in a process of its own."""
    from surform.cli.main import main

    folder = root / INPUTS
    folder.mkdir()
    os.chdir(folder)
    (folder / "recipe.yaml").write_text(_RECIPE)
    _must(main(["generate", "kolmogorov", "--out", "flow.zarr", "--samples", "4", *FLOW]))
    _must(main(["fit", "--config", "recipe.yaml", "--out", "run", "--no_report"]))
    _write_checkpoints(folder)


def _write_checkpoints(folder: Path) -> None:
    """Two official checkpoints and their constructor's arguments, from a golden case."""
    import torch

    from surform.hub.official.fixture import Fixture

    case = Path(__file__).parents[2] / "tests/golden/galerkin/burgers_galerkin_ifft.json"
    state = Fixture.load(case).parameters(torch.float32)
    torch.save(state, folder / "official.pt")
    torch.save({name: 2 * value for name, value in state.items()}, folder / "earlier.pt")
    constructor = json.loads(case.read_text())["constructor"]
    (folder / "arguments.json").write_text(json.dumps(constructor))


def _must(code: int) -> None:
    if code:
        raise RuntimeError(f"the samples cannot be made: a command ended with exit code {code}")
