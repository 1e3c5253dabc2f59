"""What a run leaves behind: metrics, checkpoints, the folder that explains itself."""

from __future__ import annotations

import csv
import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import SGD

import surform
from surform.data.fields_module import FieldsData
from surform.operators.task import FieldTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.logger import MetricsLogger
from surform.training.predictions import PredictionWriter
from surform.training.run_folder import RunFolder
from surform.training.run_report import _duration
from tests.training.toy import Decay, Smooth, ToyData, trainer


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_metrics_are_one_flat_table_with_new_columns_as_they_come(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=0)
    logger.log_metrics({"validation/loss/clean": 1.0, "epoch": 0}, step=4)
    logger.log_metrics({"train/loss": 0.5, "epoch": 1}, step=5)
    found = rows(tmp_path / "metrics.csv")
    assert [row["train/loss"] for row in found] == ["2", "", "0.5"]
    assert [row["validation/loss/clean"] for row in found] == ["", "1", ""]


def test_figures_of_one_step_share_a_row(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_metrics({"train/loss": 2.0}, step=4)
    logger.log_metrics({"validation/loss/clean": 1.0}, step=4)
    assert len(rows(tmp_path / "metrics.csv")) == 1


def test_a_resumed_table_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    first = MetricsLogger(tmp_path)
    for step in range(6):
        first.log_metrics({"train/loss": float(step)}, step=step)
    second = MetricsLogger(tmp_path)
    second.continue_from(4)
    second.log_metrics({"train/loss": 9.0}, step=4)
    assert [row["train/loss"] for row in rows(tmp_path / "metrics.csv")] == list("01239")


@pytest.mark.fault
def test_a_full_disk_adds_no_half_row_to_the_table(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.log_metrics({"train/loss": 0.5}, step=0)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = logger.path.stat().st_size + 3
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        with pytest.raises(OSError, match=f"no space left to write {logger.path}"):
            logger.log_metrics({"train/loss": 0.25}, step=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, ignored)
    assert logger.path.read_text().splitlines() == ["epoch,step,train/loss", ",0,0.5"]


@pytest.mark.fault
def test_a_resumed_table_forgets_a_row_that_was_cut_off(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    for step in (10, 1234):
        logger.log_metrics({"train/loss": 1.0}, step=step)
    path = logger.path
    path.write_text(path.read_text().replace(",1234,1\n", ",12"))
    MetricsLogger(tmp_path).continue_from(1000)
    assert [row["step"] for row in rows(path)] == ["10"]


def test_a_resumed_run_keeps_the_figures_from_before(tmp_path: Path) -> None:
    run(tmp_path, max_epochs=2)
    before = rows(tmp_path / "metrics.csv")
    run(tmp_path, max_epochs=3, resume=tmp_path / "checkpoints" / "last.ckpt")
    after = rows(tmp_path / "metrics.csv")
    assert after[: len(before)] == before
    steps = [int(row["step"]) for row in after]
    assert steps == sorted(set(steps))
    assert steps[-1] == 14


def run(folder: Path, resume: Path | None = None, **options: Any) -> tuple[FieldTask, Any]:
    task = FieldTask(net=Smooth())
    callbacks = [RunFolder(folder, title="toy", report=False), Checkpoints()]
    fit = trainer(
        folder,
        callbacks=callbacks,
        logger=MetricsLogger(),
        enable_checkpointing=True,
        **({"max_epochs": 3} | options),
    )
    fit.fit(task, ToyData(), ckpt_path=resume, weights_only=True)
    return task, fit


def test_the_run_folder_holds_everything(tmp_path: Path) -> None:
    run(tmp_path)
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert names >= {
        "environment.json",
        "data.json",
        "metrics.csv",
        "summary.json",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "model/config.json",
        "model/model.safetensors",
        "model/README.md",
    }
    assert not [name for name in names if "partial" in name]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 15
    assert summary["memory_MB"] > 0
    assert summary["metrics"]["validation/relative_l2/clean"] > 0


def test_the_exported_model_is_the_best_one(tmp_path: Path) -> None:
    run(tmp_path)
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["state_dict"]
    model = surform.load_model(tmp_path / "model", net=Smooth())
    torch.testing.assert_close(model.state_dict(), {k[10:]: v for k, v in best.items()})
    assert set(model.protocols.values()) == {"clean"}


def test_times_are_told_as_people_tell_them() -> None:
    assert _duration(4.49) == ("seconds", "4")
    assert _duration(125) == ("minutes", "2.1")
    assert _duration(86400) == ("minutes", "1,440.0")


def test_the_report_is_drawn_with_predictions_and_curves(tmp_path: Path) -> None:
    task = FieldTask(net=Decay())
    callbacks = [RunFolder(tmp_path, title="decay of a line"), Checkpoints()]
    options = {"callbacks": callbacks, "logger": MetricsLogger(), "enable_checkpointing": True}
    trainer(tmp_path, max_epochs=1, **options).fit(task, ToyData(frames=4))
    page = (tmp_path / "report.html").read_text()
    assert "decay of a line" in page
    assert "clean" in page
    assert len(list((tmp_path / "plots").glob("*.png"))) == 2


def test_the_loss_curves_of_a_run_say_what_they_are_of(tmp_path: Path) -> None:
    for steps, loss_on, spans in (
        (1, "physical", {"training": "1 frame", "validation": "3 frames in a row"}),
        (None, "normalized", {"training": "normalized", "validation": "physical"}),
        (None, "physical", None),
    ):
        task = FieldTask(net=Decay(), steps=steps, loss_on=loss_on)  # type: ignore[arg-type]
        options = {"callbacks": [RunFolder(tmp_path, report=False)], "logger": MetricsLogger()}
        trainer(tmp_path, max_epochs=1, **options).fit(task, ToyData(frames=3))
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert summary.get("loss_spans") == spans


@pytest.mark.fault
def test_a_failed_write_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Checkpoints(tmp_path)

    class Half:
        world_size = 1
        global_step = 1

        def save_checkpoint(self, path: Path) -> None:
            Path(path).write_text("half")
            raise OSError(28, "No space left on device")

    (tmp_path / "last.ckpt").write_text("whole")
    with pytest.raises(OSError, match="no space left to write"):
        keeper._save_last(Half())  # type: ignore[arg-type]
    assert (tmp_path / "last.ckpt").read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_predictions_are_labelled_and_complete(tmp_path: Path) -> None:
    import xarray as xr

    task, data = FieldTask(net=Decay()), ToyData(frames=4)
    task.surrogate.fit_to(data.description(), *data.normalizers())
    writer = PredictionWriter(tmp_path / "p.zarr")
    fit = trainer(tmp_path, callbacks=[writer])
    outputs = torch.cat(fit.predict(task, data))
    found = xr.open_zarr(tmp_path / "p.zarr")
    assert found["u"].dims == ("sample", "time", "x")
    torch.testing.assert_close(torch.from_numpy(found["u"].values), outputs[..., 0])
    with pytest.raises(ValueError, match=r"written to a \.zarr folder"):
        PredictionWriter(tmp_path / "p.csv")


def flow(path: Path, shift: float = 0.0, points: int = 8) -> Path:
    import numpy as np
    import xarray as xr

    x = np.linspace(0, 1, points)
    values = np.exp(-0.5 * np.arange(6))[:, None] * (1 + np.arange(5)[:, None, None] + x)
    axes = {"x": ("x", x, {"units": "m"}), "time": ("time", 3 + 0.5 * np.arange(6), {"units": "s"})}
    xr.Dataset({"u": (("sample", "time", "x"), values + shift)}, axes).to_zarr(
        path, consolidated=False
    )
    return path


def windows(path: Path, **options: Any) -> FieldsData:
    return FieldsData(
        str(path), ["u"], ["u"], input_steps=2, target_steps=2, batch_size=4, **options
    )


def fitted(data: FieldsData) -> FieldTask:
    task = FieldTask(net=Decay())
    task.surrogate.fit_to(data.description(), *data.normalizers())
    return task


def test_predictions_say_which_window_they_belong_to(tmp_path: Path) -> None:
    import xarray as xr

    data = windows(
        flow(tmp_path / "flow.zarr"),
        split={"train": 3, "validation": 1, "test": 1},
        dtype="float64",
    )
    out = tmp_path / "p.zarr"
    task = fitted(data).double()
    trainer(tmp_path, callbacks=[PredictionWriter(out)], precision="64-true").predict(task, data)
    found = xr.open_zarr(out)
    assert found["u"].dtype == "float64"
    assert found["trajectory"].values.tolist() == [4, 4, 4]
    assert found["start"].values.tolist() == [0, 1, 2]
    assert found["time"].values.tolist() == [0.5, 1.0]
    assert found["valid_time"][:, 0].values.tolist() == [4.0, 4.5, 5.0]
    assert found.attrs["made_by"] == "surform predict"
    assert found.attrs["data"] == str(tmp_path / "flow.zarr")


@pytest.mark.fault
def test_predictions_replace_nothing_but_predictions(tmp_path: Path) -> None:
    path, other = flow(tmp_path / "flow.zarr"), flow(tmp_path / "other.zarr")
    data = windows(path)
    for out, error, message in (
        (path, ValueError, "would replace the data it is made from"),
        (other, FileExistsError, "exists and is not a set of predictions"),
    ):
        with pytest.raises(error, match=message):
            trainer(tmp_path, callbacks=[PredictionWriter(out)]).predict(fitted(data), data)
    for _ in range(2):
        trainer(tmp_path, callbacks=[PredictionWriter(tmp_path / "p.zarr")]).predict(
            fitted(data), data
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flow.zarr", "other.zarr", "p.zarr"]


def test_other_splits_may_lie_on_another_grid(tmp_path: Path) -> None:
    import xarray as xr

    fine = flow(tmp_path / "fine.zarr", shift=1, points=16)
    data = windows(
        flow(tmp_path / "flow.zarr"), validation_path=str(fine), test_path=str(flow(
            tmp_path / "finer.zarr", shift=2, points=24))
    )  # fmt: skip
    task = FieldTask(net=Decay())
    callbacks = [RunFolder(tmp_path / "run"), Checkpoints()]
    fit = trainer(tmp_path, max_epochs=1, callbacks=callbacks, enable_checkpointing=True)
    fit.fit(task, data)
    assert (tmp_path / "run" / "report.html").is_file()
    out = tmp_path / "p.zarr"
    trainer(tmp_path, callbacks=[PredictionWriter(out)]).predict(task, data)
    assert xr.open_zarr(out).sizes["x"] == 24


def test_figures_and_frame_errors_belong_to_the_same_weights(tmp_path: Path) -> None:
    class Worse(Callback):
        """Spoils the weights after the first epoch."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                pl_module.surrogate.net.factor.data.fill_(5.0)

    task = FieldTask(net=Decay(), optimizer=lambda params: SGD(params, lr=1e-9))
    callbacks = [RunFolder(tmp_path, report=False), Checkpoints(), Worse()]
    trainer(tmp_path, max_epochs=2, callbacks=callbacks, enable_checkpointing=True).fit(
        task, ToyData(frames=4)
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best_step"] == 5
    frames = summary["profiles"]["validation"]["frames"]
    assert max(frames) < 1 < task.profiles["validation"]["frames"][0]


def test_the_sanity_check_of_an_untrained_network_leaves_no_figures(tmp_path: Path) -> None:
    task = FieldTask(net=Decay())
    trainer(tmp_path, max_epochs=1, limit_train_batches=1, check_val_every_n_epoch=2).fit(
        task, ToyData(frames=4)
    )
    assert task.profiles == {}


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 4, "max_epochs": -1, "check_val_every_n_epoch": 2},
        {"max_epochs": 1, "check_val_every_n_epoch": 2},
        {"max_epochs": 1, "check_val_every_n_epoch": None, "val_check_interval": 100},
    ],
)
def test_a_run_ends_with_a_validation(tmp_path: Path, options: dict[str, Any]) -> None:
    _, fit = run(tmp_path, **options)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best_step"] == summary["steps"] == fit.global_step
    assert summary["metrics"]["validation/relative_l2/clean"] > 0
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def test_a_metric_that_is_infinite_leaves_the_latest_weights_as_the_best(tmp_path: Path) -> None:
    data, keeper = ToyData(), Checkpoints(tmp_path)
    data.targets[-1] = 0
    fit = trainer(tmp_path, max_epochs=2, callbacks=[keeper], enable_checkpointing=True)
    with pytest.warns(UserWarning, match=r"relative_l2/clean is inf.*set model.monitor to rmse"):
        fit.fit(FieldTask(net=Smooth()), data)
    assert keeper.best_step == 10
    assert keeper.best_path is not None
