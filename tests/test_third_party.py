"""A model and a recipe from another package, through entry points, with no change here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NET = '''
"""A convolution as somebody else would write it: nothing of surform is imported."""
from torch import nn


class ToyNet(nn.Module):
    """One periodic convolution over the last axis.

    Args:
        width: channels inside.
    """

    time_window = False

    def __init__(self, in_channels: int = 1, out_channels: int = 1, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv1d(in_channels, width, 3, padding=1, padding_mode="circular")
        self.last = nn.Conv1d(width, out_channels, 1)

    def forward(self, u, coordinates):
        return self.last(self.first(u.transpose(1, 2)).relu()).transpose(1, 2)
'''
ENTRY_POINTS = """
[surform.models]
toy_net = toy_operators.net:ToyNet

[surform.recipes]
toy = toy_operators.recipes
"""
RECIPE = """
# A toy network on Burgers' equation.
seed_everything: 1
model:
  class_path: fields
  init_args:
    net: {class_path: toy_net, init_args: {width: 3}}
data:
  class_path: fields
  init_args:
    path: burgers.zarr
    inputs: [u0]
    targets: [u]
    split: {train: 4, validation: 2, test: 2}
    batch_size: 2
    generate: {solver: burgers, samples: 8, seed: 0, points: 32, modes: 64, dt: 0.01}
trainer:
  max_epochs: 1
"""
USE = """
import torch, surform
from surform.data.description import FieldsDescription
from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate

assert "toy_net" in surform.list_models("toy*")
net = surform.create_model("toy_net", width=5)
model = FieldSurrogate(net)
about = FieldsDescription(inputs=("a",), targets=("u",), axes=("x",), shape=(8,))
one = torch.ones(1)
model.fit_to(about, Normalizer(one, one), Normalizer(one, one))
model.save_pretrained("saved")
loaded = surform.load_model("saved")
u = torch.randn(2, 8, 1)
x = (torch.arange(8.0),)
assert loaded.net.arguments == {"in_channels": 1, "out_channels": 1, "width": 5}
assert torch.equal(model.eval()(u, x), loaded(u, x))
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The package as pip would install it: a folder and its dist-info, on PYTHONPATH."""
    package = tmp_path / "site" / "toy_operators"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "net.py").write_text(NET)
    (package / "recipes" / "__init__.py").touch()
    (package / "recipes" / "tiny.yaml").write_text(RECIPE.lstrip())
    info = tmp_path / "site" / "toy_operators-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-operators\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


def run(folder: Path, *line: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *line], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def surform(folder: Path, *line: str) -> str:
    return run(folder, "-c", "import sys; from surform.cli import main; sys.exit(main())", *line)


def test_it_is_listed_and_described(outside):
    listing = surform(outside, "list", "toy")
    assert "toy_net" in listing
    assert "One periodic convolution over the last axis." in listing
    assert "toy/tiny" in listing
    assert "A toy network on Burgers' equation." in listing
    assert "channels inside" in surform(outside, "info", "toy_net")


def test_it_is_created_saved_and_loaded_only_where_the_package_is(outside):
    run(outside, "-c", USE)
    result = subprocess.run(
        [sys.executable, "-c", "import surform; surform.load_model('saved')"],
        cwd=outside,
        capture_output=True,
        text=True,
    )
    assert "unknown model 'toy_net'" in result.stderr


@pytest.mark.slow
def test_it_trains_by_the_name_of_its_recipe(outside):
    surform(outside, "fit", "--config", "toy/tiny", "--trainer.accelerator", "cpu")
    (config,) = outside.rglob("config.json")
    run(outside, "-c", f"import surform; print(surform.load_model({str(config.parent)!r}))")
