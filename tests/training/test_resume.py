"""Twenty steps are ten and another ten, bit for bit, wherever the first ten were cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from surform.operators.task import FieldTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from tests.training.toy import Decay, Smooth, ToyData, trainer


class Killed(BaseException):
    pass


class Kill(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step >= self.step:
            raise Killed


def task(kind: str) -> FieldTask:
    torch.manual_seed(7)
    if kind == "steady":
        return FieldTask(net=Smooth(dropout=0.2), ema_decay=0.9)
    return FieldTask(
        net=Decay(),
        steps=2,
        curriculum_length=8,
        pushforward_after=9,
        pushforward_rollouts=1,
    )


def fit(folder: Path, kind: str, kill: int = 0, resume: bool = False, **options: Any) -> None:
    callbacks: list[Callback] = [Checkpoints(folder, every_n_steps=1), ExactResume()]
    if kill:
        callbacks.append(Kill(kill))
    options = {"max_epochs": 4} | options
    run = trainer(folder, callbacks=callbacks, enable_checkpointing=True, **options)
    path = folder / "last.ckpt" if resume else None
    data = ToyData(frames=4 if kind == "window" else 0)
    run.fit(task(kind), data, ckpt_path=path, weights_only=True)


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [where]
    if isinstance(a, dict):
        names = dict.fromkeys([*a, *b])
        return [d for n in names for d in differences(a.get(n), b.get(n), f"{where}/{n}")]
    if isinstance(a, (list, tuple)):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for n, (x, y) in pairs for d in differences(x, y, f"{where}/{n}")]
    return [] if a == b else [where]


@pytest.mark.parametrize(("kind", "kill"), [("steady", 10), ("steady", 7), ("window", 13)])
def test_a_killed_and_resumed_run_ends_in_the_same_state(
    tmp_path: Path, kind: str, kill: int
) -> None:
    fit(tmp_path / "whole", kind)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", kind, kill=kill)
    fit(tmp_path / "cut", kind, resume=True)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert whole["global_step"] == 20
    assert differences(whole, cut) == []


def test_validation_inside_an_epoch_does_not_disturb_resuming(tmp_path: Path) -> None:
    options = {"val_check_interval": 2}
    fit(tmp_path / "whole", "steady", **options)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", "steady", kill=7, **options)
    fit(tmp_path / "cut", "steady", resume=True, **options)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert differences(whole, cut) == []


@pytest.mark.parametrize("kill", [7, 10, 15])  # 10 and 15: between two epochs
def test_training_counted_in_steps_resumes_as_well(tmp_path: Path, kill: int) -> None:
    options = {"max_epochs": -1, "max_steps": 20}
    fit(tmp_path / "whole", "steady", **options)
    with pytest.raises(Killed):
        fit(tmp_path / "cut", "steady", kill=kill, **options)
    fit(tmp_path / "cut", "steady", resume=True, **options)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert whole["global_step"] == 20
    assert differences(whole, cut) == []


@pytest.mark.fault
def test_resuming_on_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(tmp_path, "steady", kill=3)
    data = ToyData()
    data.fingerprint = "other"
    run = trainer(tmp_path, max_epochs=1, callbacks=[ExactResume()])
    with pytest.raises(ValueError, match="data fingerprint toy, this run has other"):
        run.fit(task("steady"), data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    again = trainer(tmp_path, max_epochs=1, callbacks=[ExactResume(override=True)])
    again.fit(task("steady"), data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)


SCRIPT = """
import sys
from pathlib import Path
from surform.cli.main import main
main(["fit", "--config", sys.argv[1], "--out", sys.argv[2], "--no_report", *sys.argv[3:]])
"""

CONFIG = """
seed_everything: 3
model:
  class_path: fields
  init_args:
    net: {class_path: tests.training.toy.Smooth, init_args: {dropout: 0.1}}
    ema_decay: 0.9
data: {class_path: tests.training.toy.ToyData}
trainer: {max_steps: 20, max_epochs: -1, accelerator: cpu}
"""


@pytest.mark.fault
@pytest.mark.slow
def test_kill_minus_nine_leaves_a_checkpoint_that_continues_bit_for_bit(tmp_path: Path) -> None:
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(CONFIG)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "SURFORM_TOY_PAUSE": "0.2"}
    environment.pop("SURFORM_RUN_FOLDER", None)
    command = [sys.executable, "-c", SCRIPT, str(recipe)]

    def call(out: str, *options: str) -> None:
        done = [*command, str(tmp_path / out), *options]
        quick = environment | {"SURFORM_TOY_PAUSE": "0"}
        subprocess.run(done, check=True, env=quick, cwd=tmp_path, timeout=300)

    call("whole")
    cut = [*command, str(tmp_path / "cut"), "--every_n_steps", "1"]
    process = subprocess.Popen(cut, env=environment, cwd=tmp_path)
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    begun = time.monotonic()
    while time.monotonic() - begun < 240 and process.poll() is None:
        if last.is_file() and read_checkpoint(last)["global_step"] >= 10:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = read_checkpoint(last)["global_step"]
    assert 10 <= steps < 20
    call("cut", "--ckpt_path", "last", "--every_n_steps", "1")
    ends = [read_checkpoint(tmp_path / n / "checkpoints/last.ckpt") for n in ("whole", "cut")]
    found = differences(*ends)
    assert [name for name in found if "seconds" not in name] == []
