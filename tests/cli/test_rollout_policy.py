"""`surform rollout --env` through the front: files, tables, exit codes, one-sentence errors."""

from __future__ import annotations

import json

import pytest
import torch

from surform.cli import main
from surform.data.demonstrations_description import DemonstrationsDescription
from surform.data.normalizers import Normalizer
from surform.registry import create_model
from surform.robotics.policy import Policy
from tests.data.environments.strange import STRANGE


def linear_policy(observations=None, **options) -> Policy:
    """A network that goes straight to the red disc: ten times the way that is left."""
    net = create_model("bc_mlp", action_dim=2, chunk=4, state_dim=8, hidden=())
    with torch.no_grad():
        last = net.net[-1]
        last.weight.zero_()
        last.bias.zero_()
        for step in range(4):
            for axis in range(2):
                last.weight[2 * step + axis, 2 + axis] = 10.0
                last.weight[2 * step + axis, axis] = -10.0
    about = DemonstrationsDescription(
        observations=observations or {"state": 8},
        action_dim=2,
        history=1,
        chunk=4,
        tasks=("go to the red disc",),
        state_scale="none",
        action_scale="none",
        environment={"env_name": "point-reach", "env_kwargs": {}},
        **options,
    )
    policy = Policy(net)
    unit = Normalizer(torch.zeros(()), torch.ones(()))
    policy.fit_to(about, unit, Normalizer(torch.zeros(()), torch.ones(())))
    return policy


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return str(linear_policy().save_pretrained(tmp_path_factory.mktemp("policy") / "model"))


def run(*words) -> int:
    return main(["rollout", *map(str, words)])


def test_results_a_page_and_films(saved, tmp_path, capsys):
    out, page = tmp_path / "found", tmp_path / "page.html"
    line = (saved, "--env", "point-reach", "--task", "red", "--episodes", 5, "--execute", 1)
    assert run(*line, "--out", out, "--report", page, "--films", 2, "--workers", 1) == 0
    told = capsys.readouterr().out
    assert "red   5               1  0.57 to 1.00" in told
    found = json.loads((out / "results.json").read_text())
    assert found["all"]["success rate"] == 1
    assert found["settings"]["execution"] == "1 actions of each chunk"
    assert len(list((out / "films").iterdir())) == 2
    assert (out / "episodes.png").read_bytes().startswith(b"\x89PNG")
    for path in (out / "report.html", page):
        text = path.read_text()
        assert "<video" in text or "image/gif" in text
        assert "success rate" in text
    assert run(*line, "--out", out, "--films", 0, "--workers", 2) == 0  # results may be renewed
    again = json.loads((out / "results.json").read_text())
    for one, other in zip(found["episodes"], again["episodes"], strict=True):
        assert one | {"film": None} == other


def test_the_temporal_ensemble_and_options_of_the_environment(saved, capsys):
    line = (saved, "--env", "point-reach", "--task", "red", "--episodes", 2, "--workers", 1)
    assert run(*line, "--temporal-ensemble", 0.1, "--env-option", "image_size=32") == 0
    assert "red" in capsys.readouterr().out


@pytest.mark.fault
def test_what_is_refused(saved, tmp_path, capsys):
    def refused(text, *words):
        assert run(saved, *words) == 2
        told = capsys.readouterr().err
        assert text in told
        assert len(told.splitlines()) == 1

    reach = ("--env", "point-reach", "--workers", 1)
    refused("did you mean 'point-reach'", "--env", "point-rech")
    refused("no task 'rde'", *reach, "--task", "rde")
    refused("--data does nothing for a policy", *reach, "--data", "flow.zarr")
    refused("--task does nothing without --env", "--task", "red")
    refused("--data is missing, or, for a policy, --env", "--steps", 5)
    refused("--env-option is NAME=VALUE, not 'image'", *reach, "--env-option", "image")
    refused("cannot be opened so: ", *reach, "--env-option", "colour=3")
    refused("execute is 9, but the policy's chunks have 4", *reach, "--execute", 9)
    refused("execute and ensemble exclude each other", *reach, "--execute", 1,
            "--temporal-ensemble", 0)  # fmt: skip
    refused("--films are for --out or --report", *reach, "--films", 2)
    (tmp_path / "file").touch()
    refused("is an existing file", *reach, "--out", tmp_path / "file")
    refused("holds something else than results", *reach, "--out", tmp_path)
    assert run(saved, saved, *reach) == 2
    assert "--env runs one policy, but 2 are given" in capsys.readouterr().err


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "env", "text"),
    [
        ({"observations": {"pose": 8}}, "point-reach", "the policy sees 'pose' of 8 numbers, but"),
        ({"observations": {"state": 8}}, f"{STRANGE}:Vector", r"shows state \(3,\)"),
        ({"cameras": {"top": [96, 96, 3]}}, "point-reach", "the camera 'top' of 96 x 96 pixels"),
    ],
)
def test_an_environment_that_does_not_show_what_the_policy_sees(options, env, text):
    from surform.robotics import evaluate

    with pytest.raises(ValueError, match=text):
        evaluate(linear_policy(**options), env, episodes=1)


@pytest.mark.fault
def test_a_model_that_is_no_policy(capsys):
    assert run("factformer-kolmogorov", "--env", "point-reach") == 2
    assert "is no policy, but of the kind fields" in capsys.readouterr().err


@pytest.mark.slow
def test_from_demonstrations_to_a_rollout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make = "generate demonstrations --task red --episodes 50 --out reach.h5"
    assert main(make.split()) == 0
    fit = "fit --config robotics/metaworld-mlp --data.path reach.h5 --data.language null "
    fit += "--model.net.init_args.hidden [64,64] --trainer.max_steps 600 --out runs/reach"
    assert main(fit.split()) == 0
    line = "rollout runs/reach --env point-reach --task red --episodes 10 --out found --films 1"
    assert main(line.split()) == 0
    found = json.loads((tmp_path / "found" / "results.json").read_text())
    assert found["all"]["success rate"] >= 0.9
