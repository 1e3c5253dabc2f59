"""Training of policies: masks, figures, averages, runs from the command line, weights, faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import AdamW

import surform
from surform.cli import main
from surform.robotics.hpt import HPT
from surform.robotics.policy_start import begin_with
from surform.robotics.policy_task import PolicyTask
from surform.robotics.random_shift import random_shift
from surform.training.checkpoints import Checkpoints
from surform.training.prediction import Prediction
from surform.training.resume import ExactResume
from tests.data.demonstration_files import write_demonstrations
from tests.robotics.policies import NETS, data, fitted, net
from tests.training.toy import trainer


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    return write_demonstrations(tmp_path_factory.mktemp("demos") / "demos.h5", camera=32, steps=6)


def fit(place: Path, name: str, demos: Path, module: PolicyTask, **options: Any) -> Any:
    run = trainer(place, **({"max_epochs": 1} | options))
    run.fit(module, data(name, demos))
    return run


@pytest.mark.parametrize("name", ["bc_mlp", "hpt", "rt1"])
def test_what_is_beyond_the_episode_does_not_count(name, demos):
    loaded = data(name, demos)
    policy, samples = fitted(name, loaded), loaded.samples("validation")
    batch = samples[[0, 1, 9, 11]]
    noise = torch.randn(batch.actions.shape)
    changed = replace(
        batch,
        actions=torch.where(batch.mask[..., None], batch.actions, noise),
        past=torch.where(batch.seen[:, :-1, None], batch.past, torch.ones(())),
    )
    assert not torch.equal(torch.cat([changed.past, changed.actions], 1),
                           torch.cat([batch.past, batch.actions], 1))  # fmt: skip
    losses = []
    for each in (batch, changed):
        torch.manual_seed(0)
        losses.append(policy.net.learn(policy.window(each)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    counted = replace(batch, actions=torch.where(batch.mask[..., None], noise, batch.actions))
    torch.manual_seed(0)
    assert policy.net.learn(policy.window(counted)).item() != pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("name", ["dit", "dit_images", "unet"])
def test_noise_beyond_the_episode_does_not_count(name, demos):
    loaded = data(name, demos)
    policy = fitted(name, loaded)
    window = policy.window(loaded.samples("validation")[[9, 10, 11]])
    assert policy.net.learn(window) > 0
    assert policy.net.learn(replace(window, mask=torch.zeros_like(window.mask))) == 0


@pytest.mark.parametrize("name", NETS)
def test_every_network_learns(name, demos):
    loaded = data(name, demos)
    module = PolicyTask(net(name))
    policy = module.surrogate
    policy.fit_to(loaded.description(), *loaded.normalizers())
    module.train()
    batch = loaded.samples("train")[range(0, 48, 3)]
    optimizer = AdamW(module.trained(), lr=1e-2)
    losses = []
    for step in range(12 if name == "rt1" else 40):
        torch.manual_seed(step % 2)
        loss = module.training_loss(batch)[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_figures_are_in_the_units_of_the_robot(demos):
    module = PolicyTask(net("bc_mlp"))
    batch = data("bc_mlp", demos).samples("validation")[[0, 9, 11]]
    assert batch.mask.sum(1).tolist() == [4, 3, 1]
    output = batch.actions + torch.tensor([3.0, -4.0])
    output[1, 1] += torch.tensor([3.0, -4.0])
    output[~batch.mask] = 100.0
    prediction = Prediction(output, batch.actions, batch.mask[..., None])
    found = module.measure(prediction, batch)
    torch.testing.assert_close(found["action_l2"], torch.tensor([5.0, 20 / 3, 5.0]))
    torch.testing.assert_close(found["action_l1"], torch.tensor([3.5, 14 / 3, 3.5]))
    torch.testing.assert_close(found["first_action_l1"], torch.tensor([3.5, 3.5, 3.5]))
    profile = module.profile_batch(prediction, batch)
    torch.testing.assert_close(profile["number_l1"][0], torch.tensor([3.0, 4.0]))
    assert profile["step_share"].sum() == 8


@pytest.mark.parametrize("name", ["bc_mlp", "dit"])
def test_held_out_episodes_are_measured_alike_every_time(name, demos, tmp_path):
    module = PolicyTask(net(name), ema_decay=0.9)
    run = fit(tmp_path, name, demos, module)
    figures = [run.validate(module, data(name, demos), verbose=False)[0] for _ in range(2)]
    assert figures[0] == figures[1]
    assert set(figures[0]) == {
        f"validation/{n}/clean" for n in ("action_l1", "action_l2", "first_action_l1", "loss")
    }


def test_images_move_by_a_few_pixels_in_training():
    torch.manual_seed(0)
    images = torch.arange(8 * 9, dtype=torch.uint8).view(1, 1, 8, 9, 1).expand(20, 2, 8, 9, 3)
    moved = random_shift(images, 2)
    assert moved.shape == images.shape
    assert moved.dtype == torch.uint8
    assert torch.equal(moved[:, 0], moved[:, 1])
    centres = moved[:, 0, 4, 4, 0].int() - int(images[0, 0, 4, 4, 0])
    wanted = {9 * row + column for row in range(-2, 3) for column in range(-2, 3)}
    assert set(centres.tolist()) <= wanted
    assert len(set(centres.tolist())) > 5
    corner = moved[:, 0, 0, 0, 0].tolist()
    assert set(corner) <= {9 * row + column for row in range(3) for column in range(3)}


class Killed(BaseException):
    pass


class Kill(Callback):
    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 3:
            raise Killed


def test_a_run_resumes_to_the_same_bits(demos, tmp_path):
    def run(*more: Callback, **options: Any) -> PolicyTask:
        module = PolicyTask(net("dit"), ema_decay=0.9)
        callbacks = [Checkpoints(tmp_path, every_n_steps=2), ExactResume(), *more]
        made = trainer(tmp_path, max_epochs=2, callbacks=callbacks, enable_checkpointing=True)
        made.fit(module, data("dit", demos, batch_size=16), **options)
        return module

    whole = run()
    with pytest.raises(Killed):
        run(Kill())
    again = run(ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_weights_and_frozen_blocks(demos):
    source = fitted("hpt", data("hpt", demos))
    arguments = NETS["hpt"][1] | {"action_dim": 3, "features": {"state": 7}}
    module = PolicyTask(HPT(**arguments), freeze=-1)
    report = begin_with(module.surrogate, source)
    assert all(name.startswith("trunk") for name in report.kept if "blocks" in name)
    assert "stems.state.net.0.weight" in report.fresh
    for a, b in zip(source.net.trunk.parameters(), module.surrogate.net.trunk.parameters(),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)
        assert not b.requires_grad


def test_a_run_from_the_command_line(demos, tmp_path, capsys):
    words = [
        "fit", "--config", "robotics/metaworld-mlp", "--data.path", str(demos),
        "--model.net.hidden", "[32]", "--data.chunk", "4", "--data.batch_size", "32",
        "--trainer.max_steps", "60", "--trainer.val_check_interval", "20", "--out",
        str(tmp_path / "run"),
    ]  # fmt: skip
    assert main(words) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["metrics"]["validation/action_l1/clean"] < 0.5
    assert len(summary["profiles"]["validation"]["number_l1"]) == 2
    page = (tmp_path / "run/report.html").read_text()
    assert "Along the chunk" in page
    assert "go to the left" in page
    policy = surform.load_model(tmp_path / "run/model")
    assert policy.description.chunk == 4
    assert "actions" in (tmp_path / "run/model/README.md").read_text()
    predicted = tmp_path / "predicted.h5"
    given = ["--ckpt_path", str(tmp_path / "run"), "--data.path", str(demos)]
    assert main(["predict", *given, "--out", str(predicted)]) == 0
    assert main(["info", str(demos)]) == 0
    told = capsys.readouterr().out
    assert "8 episodes of 6 to 13 steps, 76 in all" in told
    assert "go to the left (4), go to the right (4)" in told
    assert "front     camera  32 x 32 x 3" in told


def test_loading_is_measured(demos, capsys):
    assert main(["bench", "data", str(demos), "--workers", "0", "--batches", "3"]) == 0
    told = capsys.readouterr().out
    assert "reading" in told
    assert "windows and collating" in told


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": 1}, "freeze is 1, but BCMLP has no trunk"),
        ({"metrics": ["rmse"]}, "unknown metric 'rmse': choose from action_l1"),
        ({"monitor": "success"}, "monitor 'success' is not among the metrics"),
        ({"shift": -1}, "shift is -1, but must be a whole number"),
    ],
)
def test_tasks_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        PolicyTask(net("bc_mlp"), **options)


@pytest.mark.fault
def test_weights_that_do_not_fit(demos, tmp_path):
    model = fitted("bc_mlp", data("bc_mlp", demos))
    with pytest.raises(ValueError, match="but must be a policy"):
        begin_with(model, "cct-digits")
    with pytest.raises(ValueError, match=r"nothing in .* fits this network"):
        begin_with(model, fitted("hpt", data("hpt", demos)))
    with pytest.raises(ValueError, match="holds a trunk of HPT, but BCMLP has none"):
        begin_with(model, tmp_path / "trunk.pth")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": (0,)}, r"hidden\[0\] is 0"),
        ({"history": 0}, "history is 0"),
        ({"dropout": 1.5}, r"dropout is 1\.5"),
    ],
)
def test_baselines_that_cannot_be(arguments, message):
    given = {"action_dim": 2, "chunk": 4, "state_dim": 3}
    with pytest.raises(ValueError, match=message):
        surform.create_model("bc_mlp", **given | arguments)


@pytest.mark.fault
def test_what_baselines_refuse():
    mlp = surform.create_model("bc_mlp", action_dim=2, chunk=4, state_dim=3, language_dim=5)
    with pytest.raises(ValueError, match=r"state has shape \(2, 3\), but must be \(batch, 1, 3\)"):
        mlp(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="language is missing"):
        mlp(torch.zeros(2, 1, 3))
    unet = surform.create_model("unet_policy", action_dim=2, chunk=3, state_dim=3)
    with pytest.raises(ValueError, match="take a multiple of 2"):
        unet.sample({"state": torch.zeros(2, 3)})
