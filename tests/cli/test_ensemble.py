"""`surform ensemble`: runs of several seeds become one calibrated model."""

from __future__ import annotations

import csv
import shlex

import numpy as np
import pytest
import torch

import surform
from surform.cli import ensemble
from surform.cli.main import main
from surform.uncertainty import Conformal, DeepEnsemble

RECIPE = """
model:
  class_path: series
  init_args:
    net: {class_path: dlinear, init_args: {lookback: 12, horizon: 3, kernel_size: 5}}
    optimizer: {class_path: Adam, init_args: {lr: 1e-2}}
data:
  class_path: series
  init_args: {path: waves.csv, lookback: 12, horizon: 3}
trainer: {max_epochs: 1, accelerator: cpu}
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = np.arange(600)
    values = np.sin(steps / 3) + 0.1 * np.random.default_rng(0).standard_normal(600)
    with open("waves.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "a"])
        days = np.datetime64("2020-01-01") + steps
        writer.writerows(zip(days.astype(str), values, strict=True))
    (tmp_path / "own.yaml").write_text(RECIPE)
    for seed in range(2):
        words = ["--seed_everything", str(seed), "--out", f"runs/seed{seed}", "--no_report"]
        assert main(["fit", "--config", "own.yaml", *words]) == 0


@pytest.mark.parametrize("scaled", [False, True])
def test_the_example_makes_a_model_that_forecasts_quantiles(runs, scaled, capsys):
    words = shlex.split(ensemble.EXAMPLE)[1:]
    assert main([*words, *(["--scaled"] if scaled else [])]) == 0
    assert "2 members, calibrated on 58 validation windows" in capsys.readouterr().out
    model = surform.load_model("ensemble")
    assert isinstance(model, Conformal)
    assert isinstance(model.model, DeepEnsemble)
    weights = [m.net.trend.weight for m in model.model.members]
    assert not torch.equal(*weights)
    forecast = model.predict("waves.csv")
    assert (forecast["a_q0.05"] <= forecast["a_q0.95"]).all()
    assert len(forecast) == 3


@pytest.mark.fault
def test_what_cannot_be_joined(runs, capsys):
    assert main(["ensemble", "runs/seed0", "--out", "e"]) == 2
    assert "at least two members" in capsys.readouterr().err
    assert main(["ensemble", "runs/seed0/model", "runs/seed1/model", "--out", "e"]) == 2
    assert "is no run folder" in capsys.readouterr().err


@pytest.mark.fault
def test_the_same_run_twice_is_refused(runs, capsys, tmp_path):
    words = ["ensemble", "runs/seed0", "runs/seed1", "runs/seed0", "--out", "twins"]
    assert main(words) == 2
    assert "runs/seed0 and runs/seed0 have the same weights" in capsys.readouterr().err
    assert not (tmp_path / "twins").exists()
