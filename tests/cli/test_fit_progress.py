"""What a training says while it runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from surform.cli import fit_progress
from surform.cli.fit_bar import TrainingBar, with_bar
from surform.cli.fit_progress import ProgressLines
from surform.operators.task import FieldTask
from tests.training.toy import Decay, ToyData, trainer


@pytest.fixture(autouse=True)
def without_warnings():
    with warnings.catch_warnings():
        fit_progress.quiet()
        yield


def lines(folder: Path, capsys: pytest.CaptureFixture[str], **options) -> list[str]:
    callbacks = [ProgressLines()]
    trainer(folder, callbacks=callbacks, **options).fit(FieldTask(net=Decay()), ToyData(frames=2))
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]


def test_a_validation_is_told(tmp_path, capsys):
    found = lines(tmp_path, capsys, max_epochs=-1, max_steps=10)
    assert len(found) == 2
    assert found[0].startswith("epoch 1, step 5 of 10, loss ")
    assert "validation/relative_l2/clean" in found[0]


def test_long_epochs_and_validations_are_not_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fit_progress, "_PATIENCE", 0.0)
    found = lines(tmp_path, capsys, max_epochs=1)
    trained = [line for line in found if "validation" not in line]
    assert [line.split(", loss")[0] for line in trained] == [
        f"epoch 1, step {step}" for step in range(1, 6)
    ]
    assert any(line.endswith("validation batch 1") for line in found)


class Watched(Callback):
    """What the bar shows after each step."""

    def __init__(self, bar: TrainingBar) -> None:
        self.bar, self.seen = bar, []

    def on_train_batch_end(self, *args) -> None:
        task = self.bar.train_progress_bar
        self.seen.append((task.description.strip(), task.completed, task.total))


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"max_epochs": -1, "max_steps": 7}, [("Steps", step, 7) for step in range(1, 8)]),
        ({"max_epochs": 1}, [("Epoch 0/0", step, 5) for step in range(1, 6)]),
    ],
)
def test_the_bar_counts_what_ends_the_training(tmp_path, options, seen):
    bar = TrainingBar()
    watched = Watched(bar)  # behind the bar: callbacks run in their order
    options |= {"callbacks": [bar, watched], "enable_progress_bar": True}
    trainer(tmp_path, **options).fit(FieldTask(net=Decay()), ToyData(frames=2))
    assert watched.seen == seen


def test_a_bar_is_added_where_one_is_wanted_and_none_is_there():
    lines = ProgressLines()
    assert isinstance(with_bar({"enable_progress_bar": True}, [lines])[1], TrainingBar)
    assert with_bar({"enable_progress_bar": False}, [lines]) == [lines]
    own = {"enable_progress_bar": True, "callbacks": [TrainingBar()]}
    assert with_bar(own, [lines]) == [lines]
