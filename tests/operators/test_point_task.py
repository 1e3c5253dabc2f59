"""Training on meshes: losses and figures of ragged samples, runs that resume exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from torch.optim import AdamW

from surform.cli.fit_progress import quiet
from surform.data import PointsData
from surform.data.points import collate
from surform.operators.point_task import PointTask
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from tests.data.point_files import sample, store
from tests.operators.toy_points import PointToy
from tests.training.toy import trainer
from tests.training.two_processes import require_same_weights


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    """Lightning's own warnings are its business."""
    quiet()


def data_of(tmp_path: Path, **options: Any) -> PointsData:
    chosen = {"split": {"train": 10, "validation": 4, "test": 2}, "dtype": "float64"} | options
    found = [sample(k) for k in range(16)]
    return PointsData(store(tmp_path / "a.zarr", found), **chosen)


def task_of(data: PointsData | None = None, **options: Any) -> PointTask:
    seed_everything(0)
    task = PointTask(PointToy(2, 2, 1, (3, 2)), **options).double()
    if data is not None:
        task.surrogate.fit_to(data.description(), *(n.double() for n in data.normalizers()))
    return task


def by_hand(values: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Relative L2 `(samples, targets)` from sums over real points."""
    rows = []
    for number in range(3):
        output, target, weight = values(number)
        error = (weight[:, None] * (output - target) ** 2).sum(0)
        rows.append(np.sqrt(error / (weight[:, None] * target**2).sum(0)))
    return np.array(rows)


@pytest.mark.parametrize("quadrature", [False, True])
def test_figures_are_those_of_samples_without_padding(tmp_path: Path, quadrature: bool) -> None:
    task = task_of(data_of(tmp_path), quadrature=quadrature, metrics=("relative_l2", "rmse", "mae"))
    batch = collate([sample(k).tensors(torch.float64) for k in range(3)])
    with torch.no_grad():
        figures = task.measure(task.evaluate_batch(batch), batch)
        loss = task.loss(task.predict_batch(batch), batch)

    def physical(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weight = sample(k).weights if quadrature else np.ones(len(sample(k).points))
        return task.surrogate.predict(sample(k)), sample(k).targets, weight

    def normalized(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        output, target, weight = physical(k)
        normalizer = task.surrogate.target_normalizer
        mean, std = normalizer.mean.numpy(), normalizer.std.numpy()
        return (output - mean) / std, (target - mean) / std, weight

    expected = by_hand(physical)
    np.testing.assert_allclose(figures["relative_l2"], expected.mean(1))
    np.testing.assert_allclose(figures["relative_l2_u"], expected[:, 0])
    np.testing.assert_allclose(figures["relative_l2_p"], expected[:, 1])
    np.testing.assert_allclose(loss, by_hand(normalized).mean())
    output, target, weight = physical(0)
    mean = (weight[:, None] * (output - target) ** 2).sum() / weight.sum() / 2
    np.testing.assert_allclose(figures["rmse"][0], mean)  # its root is taken of the whole split
    mean = (weight[:, None] * abs(output - target)).sum() / weight.sum() / 2
    np.testing.assert_allclose(figures["mae"][0], mean)


def test_a_loss_on_physical_targets(tmp_path: Path) -> None:
    task = task_of(data_of(tmp_path), loss_on="physical")
    batch = collate([sample(k).tensors(torch.float64) for k in range(3)])
    prediction = task.predict_batch(batch)
    assert torch.equal(prediction.target, batch.targets)


def fit(tmp_path: Path, name: str, epochs: int, **options: Any) -> tuple[PointTask, Path]:
    data, task = data_of(tmp_path, **options), task_of()
    folder = tmp_path / name
    callbacks = [RunFolder(folder, report=False), Checkpoints(), ExactResume()]
    run = trainer(tmp_path, max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
    run.fit(task, datamodule=data)
    return task, folder


def test_training_learns_and_the_report_shows_the_samples(tmp_path: Path) -> None:
    data = data_of(tmp_path, split={"train": 14, "validation": 1, "test": 1})
    task = task_of(metrics=("relative_l2",), optimizer=lambda p: AdamW(p, lr=2e-2))
    folder = tmp_path / "run"
    saving = {"callbacks": [RunFolder(folder, title="meshes"), Checkpoints()]}
    options = {"max_epochs": 30, "check_val_every_n_epoch": 15, "enable_checkpointing": True}
    trainer(tmp_path, **options, **saving).fit(task, datamodule=data)
    found = json.loads((folder / "summary.json").read_text())
    figures = found["metrics"]
    assert figures["validation/relative_l2/clean"] < 0.15
    both = [figures[f"validation/relative_l2_{name}/clean"] for name in ("u", "p")]
    assert np.mean(both) == pytest.approx(figures["validation/relative_l2/clean"])
    page = (folder / "report.html").read_text()
    assert "u of" in page
    assert "sample 14" in page  # the first validation sample
    assert "points: relative L2" not in page
    assert len(list((folder / "plots").iterdir())) == 2  # two targets
    described = json.loads((folder / "data.json").read_text())
    assert described["source"]["points"] == "5 to 25"


def test_a_run_continues_bit_for_bit(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path, "whole", 4)

    class StopError(Exception):
        pass

    data, task = data_of(tmp_path), task_of()
    folder = tmp_path / "part"
    keeper = Checkpoints(every_n_steps=1)

    def stop(*args: Any) -> None:
        if task.global_step == 5:  # in the middle of the second epoch
            raise StopError

    task.on_train_batch_start = lambda batch, number: (  # type: ignore[method-assign]
        PointTask.on_train_batch_start(task, batch, number),
        stop(),
    )[0]
    saving = {"callbacks": [RunFolder(folder, report=False), keeper, ExactResume()]}
    with pytest.raises(StopError):
        trainer(tmp_path, max_epochs=4, enable_checkpointing=True, **saving).fit(
            task, datamodule=data
        )
    data, again = data_of(tmp_path), task_of()
    saving = {"callbacks": [RunFolder(folder, report=False), Checkpoints(), ExactResume()]}
    last = folder / "checkpoints" / "last.ckpt"
    run = trainer(tmp_path, max_epochs=4, enable_checkpointing=True, **saving)
    run.fit(again, datamodule=data, ckpt_path=last)
    assert again.global_step == whole.global_step
    for mine, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.fault
def test_quadrature_without_weights(tmp_path: Path) -> None:
    task = task_of(data_of(tmp_path, weights=False), quadrature=True)
    batch = collate([sample(0, weights=None).tensors(torch.float64)])
    with pytest.raises(ValueError, match="quadrature weighs points by their cells, but the data"):
        task.predict_batch(batch)


@pytest.mark.fault
def test_a_sample_whose_target_is_zero(tmp_path: Path) -> None:
    still = sample(1, targets=sample(1).targets * [0, 1])
    batch = collate([sample(0).tensors(torch.float64), still.tensors(torch.float64)], [5, 7])
    task = task_of(data_of(tmp_path))
    with pytest.raises(ValueError, match="u is zero at all points of sample 7 of the split"):
        task.measure(task.evaluate_batch(batch), batch)
    task = task_of(data_of(tmp_path), metrics=("rmse",), monitor="rmse")
    assert torch.isfinite(task.measure(task.evaluate_batch(batch), batch)["rmse"]).all()


@pytest.mark.fault
def test_options_that_are_none() -> None:
    with pytest.raises(ValueError, match="metric 'vrmse' is for grids; on points: relative_l2,"):
        PointTask(PointToy(), metrics=("vrmse",), monitor="vrmse")
    with pytest.raises(ValueError, match="loss_on must be 'physical' or 'normalized'"):
        PointTask(PointToy(), loss_on="both")  # type: ignore[arg-type]


@pytest.mark.fault
def test_a_network_for_other_data_is_refused_before_training(tmp_path: Path) -> None:
    task = PointTask(PointToy(2, 2, 1, (3,)))
    with pytest.raises(ValueError, match=r"input_channels=\[3\], the data give \[3, 2\]"):
        trainer(tmp_path, max_epochs=1).fit(task, datamodule=data_of(tmp_path))


SCRIPT = """
import sys, torch
from surform.cli.fit_progress import quiet
from surform.data import PointsData
from surform.operators.point_task import PointTask
from tests.operators.toy_points import PointToy
from tests.training.toy import trainer
quiet()
devices, folder = int(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
split = {"train": 12, "validation": 3, "test": 1}
data = PointsData("../a.zarr", split=split, batch_size=4 // devices, bucket=2, dtype="float64")
task = PointTask(PointToy(2, 2, 1, (3, 2)).double())
options = dict(devices=devices, strategy="ddp") if devices > 1 else {}
run = trainer(folder, max_epochs=2, precision="64-true", **options)
run.fit(task, data)
run.save_checkpoint(folder + "/end.ckpt", weights_only=False)
if run.is_global_zero:
    figures = {k: v.item() for k, v in run.callback_metrics.items() if k.startswith("validation")}
    torch.save(figures, folder + "/figures.pt")
"""


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", [sample(k) for k in range(16)])
    require_same_weights(SCRIPT.replace("../a.zarr", path), tmp_path)
    figures = [torch.load(tmp_path / n / "figures.pt") for n in ("1", "2")]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)
