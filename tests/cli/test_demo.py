"""The demo: its checks, and the whole path in small."""

from __future__ import annotations

import html
import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from surform.cli import demo_pace, main
from surform.cli.demo import EXAMPLE
from surform.cli.demo_checks import check_rollout
from surform.cli.fit_config import read_config


def rolled(alike: float, still: float, steps: int = 10, blown: int = -1) -> xr.Dataset:
    """A rollout whose correlations fall below 0.9 after these times (time step 0.5)."""
    lead = 0.5 * np.arange(1, steps + 1)
    rows = {"": np.where(lead <= alike, 1, 0.5), "_persistence": np.where(lead <= still, 1, 0.5)}
    found = {f"vorticity_correlation{k}": (("sample", "time"), [v]) for k, v in rows.items()}
    found["blow_up_step"] = ("sample", [blown])
    return xr.Dataset(found, {"lead_time": ("time", lead), "time": lead})


def first(error: float, still: float) -> xr.Dataset:
    return xr.Dataset(
        {
            "vorticity_relative_l2": ("sample", [error]),
            "vorticity_relative_l2_persistence": ("sample", [still]),
        }
    )


def passed(prediction: xr.Dataset, steps: xr.Dataset) -> list[bool]:
    return [check.passed for check in check_rollout(prediction, steps)]


def test_a_good_model_meets_every_requirement():
    assert passed(rolled(3.0, 1.0), first(0.03, 0.2)) == [True] * 4


@pytest.mark.parametrize(
    ("prediction", "steps", "missed"),
    [
        (rolled(3.0, 1.0), first(0.051, 0.5), 0),
        (rolled(3.0, 1.0), first(0.03, 0.14), 1),
        (rolled(1.5, 1.0), first(0.03, 0.2), 2),
        (rolled(3.0, 1.0, blown=7), first(0.03, 0.2), 3),
    ],
)
def test_every_requirement_can_be_missed(prediction, steps, missed):
    assert passed(prediction, steps) == [number != missed for number in range(4)]


def test_correlation_that_never_falls_counts_as_far_as_it_is_known():
    check = check_rollout(rolled(99.0, 1.0), first(0.03, 0.2))[2]
    assert check.value == "5.00"
    assert "5.0× as long as persistence (1.00)" in check.note


def test_nan_never_passes():
    assert passed(rolled(3.0, 1.0), first(float("nan"), 0.2))[:2] == [False, False]


def test_what_is_not_judged_gets_no_mark():
    check = check_rollout(rolled(3.0, 1.0), first(0.051, 0.5))[0]
    note = "repeating the last frame: 50.00%"
    assert "✗" in check.line()
    assert f"wanted at most 5%[dim]; {note}" in check.line()
    unjudged = check.line(judged=False)
    assert unjudged == f"one-step error (relative L2): [bold]5.10%[/bold][dim]; {note}[/dim]"


@pytest.mark.slow
def test_quick_demo_makes_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(EXAMPLE.split()[1:]) == 0
    printed = capsys.readouterr().out
    assert "one-step error" in printed
    assert "report.html" in printed
    assert re.search(r"kinetic energy over 20 steps: \d+% too (high|low); .*not judged", printed)
    assert not re.search("[✓✗]", printed)
    page = (tmp_path / "demo-quick" / "report.html").read_text()
    assert "validation frames one by one" in page
    for part in ("Vorticity in motion", "Training", "What was asked of it", "How it was made"):
        assert part in page
    prediction = xr.open_zarr(tmp_path / "demo-quick" / "prediction.zarr")
    assert prediction.sizes["time"] == 20
    test = xr.open_zarr(tmp_path / "demo-quick" / "test.zarr", consolidated=False)
    train = xr.open_zarr(tmp_path / "demo-quick" / "train.zarr", consolidated=False)
    assert not np.allclose(test["vorticity"][0, 0], train["vorticity"][0, 0])
    # The commands that the page ends with do the same again, beside what is there.
    commands = html.unescape(re.findall("<pre>(.*?)</pre>", page, re.DOTALL)[-1])
    for line in commands.replace("\\\n", " ").splitlines():
        assert main(shlex.split(line)[1:]) == 0
    again = tmp_path / "demo-quick" / "by-hand"
    model = Path("run", "model", "model.safetensors")
    assert (again / model).read_bytes() == (tmp_path / "demo-quick" / model).read_bytes()
    xr.testing.assert_equal(
        xr.open_zarr(again / "prediction.zarr")["vorticity"], prediction["vorticity"]
    )
    assert (again / "rollout.html").is_file()
    capsys.readouterr()
    # A second call goes on: with nothing to train, then with the rest of an interrupted training.
    run = tmp_path / "demo-quick" / "run"
    weights = (run / "model" / "model.safetensors").read_bytes()
    for complete in (True, False):
        if not complete:
            (run / "report.html").unlink()
        assert main(EXAMPLE.split()[1:]) == 0
        assert ("trained already" in capsys.readouterr().out) == complete
    assert (run / "report.html").is_file()
    assert (run / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(("seconds", "steps"), [(1e-3, 1500), (10.0, 800), (0.25, 854)])
def test_the_demo_trains_as_long_as_it_can_within_bounds(monkeypatch, seconds, steps):
    clock = itertools.count(step=seconds * demo_pace._TRIALS)
    monkeypatch.setattr(demo_pace.time, "monotonic", lambda: next(clock))
    config = read_config("operators/quickstart")
    config["model"]["init_args"]["net"]["init_args"] |= {"dim": 8, "heads": 2, "head_dim": 4}
    before = torch.get_num_threads()
    assert demo_pace.pace(config, (8, 8), 1000)[1] == steps
    assert torch.get_num_threads() == before


def test_a_file_in_the_way_is_told(tmp_path, capsys):
    (tmp_path / "demo").write_text("")
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "is a file" in capsys.readouterr().err
