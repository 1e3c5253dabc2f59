"""Twenty steps are ten and another ten, bit for bit, wherever the first ten were cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import AdamW

from surform.operators.task import FieldTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from surform.training.schedules import (
    Constant,
    Cosine,
    CosineEpochs,
    Halving,
    OneCycle,
    RestartedCosine,
    Schedule,
)
from tests.training.toy import Decay, Smooth, ToyData, trainer


class Killed(BaseException):
    pass


class Kill(Callback):
    """Before this many optimizer steps, or this many batches."""

    def __init__(self, step: int = 10**9, batch: int = 10**9) -> None:
        self.step, self.batch = step, batch

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        batches = trainer.fit_loop.epoch_loop.total_batch_idx
        if trainer.global_step >= self.step or batches >= self.batch:
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


def fit(
    folder: Path,
    kind: str,
    kill: int | Kill = 0,
    resume: bool = False,
    keeper: Checkpoints | None = None,
    **options: Any,
) -> None:
    keeper = keeper or Checkpoints(every_n_steps=1)
    keeper.folder = folder
    callbacks: list[Callback] = [keeper, ExactResume()]
    if kill:
        callbacks.append(Kill(kill) if isinstance(kill, int) else kill)
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


@pytest.mark.parametrize(
    ("batch", "minutes", "options"),
    [
        (6, 10.0, {}),  # between two optimizer steps
        (8, 10.0, {"val_check_interval": 2}),  # after a batch with a step, but with validation too
        (6, 1e-9, {}),  # saved by the clock
    ],
)
def test_gradients_that_are_still_being_accumulated_are_not_lost(
    tmp_path: Path, batch: int, minutes: float, options: dict[str, Any]
) -> None:
    def run(name: str, **more: Any) -> None:
        keeper = Checkpoints(every_n_steps=1 if minutes > 1 else None, every_minutes=minutes)
        fit(tmp_path / name, "steady", keeper=keeper, **more, **options, accumulate_grad_batches=2)

    run("whole")
    with pytest.raises(Killed):
        run("cut", kill=Kill(batch=batch))
    assert read_checkpoint(tmp_path / "cut" / "last.ckpt")["global_step"] > 0
    run("cut", resume=True)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert whole["global_step"] == 12
    assert differences(whole["state_dict"], cut["state_dict"]) == []
    assert differences(whole["optimizer_states"], cut["optimizer_states"]) == []


def test_several_processes_seldom_stop_for_the_clock(tmp_path: Path) -> None:
    asked: list[bool] = []
    saved: list[int] = []
    keeper = Checkpoints(tmp_path, every_minutes=1e-9)
    keeper._save_last = lambda run: saved.append(run.global_step)  # type: ignore[method-assign]
    for step in range(1, 33):
        run: Any = SimpleNamespace(
            global_step=step, max_steps=99, current_epoch=0, max_epochs=1, is_last_batch=False,
            should_stop=False, world_size=2, val_check_batch=None,
            strategy=SimpleNamespace(broadcast=lambda due: asked.append(due) or due),
        )  # fmt: skip
        keeper.on_train_batch_end(run, Smooth(), None, None, step)  # type: ignore[arg-type]
    assert asked == [True, True]
    assert saved == [16, 32]


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(
    "schedule",
    [Constant(), Cosine(warmup=0.0), OneCycle(), CosineEpochs(), Halving(), RestartedCosine(2)],
)
@pytest.mark.parametrize("override", [True, False])
def test_another_learning_rate_takes_effect_when_it_is_asked_for(
    tmp_path: Path, schedule: Schedule, override: bool
) -> None:
    def rates(lr: float, kill: int = 0, resume: bool = False) -> list[float]:
        seen, keeper = Rates(), Checkpoints(tmp_path, every_n_steps=1)
        stop = [Kill(kill)] if kill else []
        callbacks = [*stop, seen, ExactResume(override), *([keeper] if kill else [])]
        run = trainer(tmp_path, callbacks=callbacks, max_epochs=2, enable_checkpointing=True)
        made = FieldTask(net=Smooth(), optimizer=lambda p: AdamW(p, lr), schedule=schedule)
        path = tmp_path / "last.ckpt" if resume else None
        with pytest.raises(Killed) if kill else nullcontext():
            run.fit(made, ToyData(), ckpt_path=path, weights_only=True)
        return seen.seen

    rates(1e-3, kill=4)
    resumed = rates(2e-3, resume=True)
    expected = rates(2e-3 if override else 1e-3)[4:]
    assert resumed == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "per_epoch"),
    [
        ({"max_epochs": 4}, 5),
        ({"max_epochs": 4, "accumulate_grad_batches": 2}, 5),  # in batches; three optimizer steps
        ({"max_epochs": -1, "max_steps": 18}, 5),
        ({"max_epochs": 4, "limit_train_batches": 3}, 3),
    ],
)
def test_schedules_of_whole_epochs_change_between_epochs_and_resume_bit_for_bit(
    tmp_path: Path, options: dict[str, Any], per_epoch: int
) -> None:
    def run(name: str, kill: int = 0, resume: bool = False) -> list[float]:
        seen, keeper = Rates(), Checkpoints(every_n_steps=1)
        keeper.folder = tmp_path / name
        stop = [Kill(batch=kill)] if kill else []
        run = trainer(
            keeper.folder,
            callbacks=[*stop, seen, ExactResume(), keeper],
            enable_checkpointing=True,
            **options,
        )
        made = FieldTask(net=Smooth(dropout=0.2), schedule=Halving())
        path = keeper.folder / "last.ckpt" if resume else None
        with pytest.raises(Killed) if kill else nullcontext():
            run.fit(made, ToyData(), ckpt_path=path, weights_only=True)
        return seen.seen

    torch.manual_seed(3)
    whole = run("whole")
    expected = [1e-3 * 0.5 ** max(0, batch // per_epoch - 1) for batch in range(len(whole))]
    assert whole == pytest.approx(expected, rel=1e-12)
    torch.manual_seed(3)
    cut = run("cut", kill=per_epoch * 2 + 2)
    torch.manual_seed(3)
    assert [*cut, *run("cut", resume=True)][-4:] == whole[-4:]
    ends = [read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut")]
    assert differences(*ends) == []


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
