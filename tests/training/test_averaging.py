"""The moving average of the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch.optim import SGD

from surform.operators.task import FieldTask
from surform.training.averaging import ExponentialAverage
from surform.training.checkpoint import read_checkpoint
from surform.training.schedules import Constant
from tests.training.toy import Decay, ToyData, trainer


class Record(Callback):
    def __init__(self) -> None:
        self.weights: list[float] = []
        self.validated: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.weights.append(pl_module.surrogate.net.factor.item())

    def on_validation_epoch_start(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            self.validated.append(pl_module.surrogate.net.factor.item())


def run(tmp_path: Path, decay: float = 0.5) -> tuple[FieldTask, Record, Path]:
    record = Record()
    task = FieldTask(
        net=Decay(),
        optimizer=lambda p: SGD(p, lr=0.05),
        schedule=Constant(),
        ema_decay=decay,
    )
    fit = trainer(tmp_path, max_epochs=1, callbacks=[record])
    fit.fit(task, ToyData(frames=4))
    path = tmp_path / "a.ckpt"
    return task, record, path


def average(start: float, weights: list[float], decay: float) -> float:
    value = start
    for weight in weights:
        value = decay * value + (1 - decay) * weight
    return value


def test_the_average_is_what_is_left_after_training(tmp_path: Path) -> None:
    task, record, _ = run(tmp_path)
    expected = average(0.5, record.weights, 0.5)
    assert abs(task.surrogate.net.factor.item() - expected) < 1e-6
    assert abs(record.weights[-1] - expected) > 1e-4


def test_checkpoints_hold_the_average_and_the_weights_to_go_on_from(tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if batch_idx == 3:
                trainer.save_checkpoint(tmp_path / "mid.ckpt")

    record = Record()
    task = FieldTask(net=Decay(), optimizer=lambda p: SGD(p, lr=0.05), ema_decay=0.5)
    callbacks = [ExponentialAverage(0.5), record, Save()]
    task.ema_decay = 0.0  # the callback stands first here, so that Save sees its work
    trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(task, ToyData(frames=4))
    stored = read_checkpoint(tmp_path / "mid.ckpt")
    name = "surrogate.net.factor"
    expected = average(0.5, record.weights[:4], 0.5)
    torch.testing.assert_close(stored["state_dict"][name].item(), expected)
    assert stored["training_weights"][name].item() == record.weights[3]


def test_only_trained_weights_are_averaged_not_statistics(tmp_path: Path) -> None:
    task, _, _ = run(tmp_path)
    data = ToyData(frames=4)
    assert torch.equal(task.surrogate.input_normalizer.mean, data.normalizers()[0].mean)
