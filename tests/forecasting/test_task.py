"""Training of forecasters: standardised losses, whole-split figures, penalties, exact resuming."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch.optim import SGD, Adam

from surform.data.series_module import SeriesData
from surform.forecasting.dlinear import DLinear
from surform.forecasting.task import ForecastTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.compiling import missing_compiler
from surform.training.logger import MetricsLogger
from surform.training.losses import MeanAbsoluteError
from surform.training.resume import ExactResume
from surform.training.run_folder import RunFolder
from surform.training.schedules import Constant
from tests.forecasting.tables import frame
from tests.forecasting.toys import Balanced, Plain
from tests.training.toy import trainer
from tests.training.two_processes import require_same_weights

LOOKBACK, HORIZON = 12, 4


@pytest.fixture(autouse=True)
def _quiet_lightning(recwarn: pytest.WarningsRecorder) -> None:
    from surform.cli.fit_progress import quiet

    quiet()


def data(**options: Any) -> SeriesData:
    return SeriesData(frame(), LOOKBACK, HORIZON, **({"eval_batch_size": 7} | options))


def task(net: torch.nn.Module | None = None, **options: Any) -> ForecastTask:
    torch.manual_seed(0)
    options = {"optimizer": lambda params: Adam(params, lr=1e-2), "schedule": Constant()} | options
    return ForecastTask(
        net or DLinear(lookback=LOOKBACK, horizon=HORIZON, kernel_size=5), **options
    )


def fit(
    folder: Path, module: ForecastTask, source: SeriesData | None = None, **options: Any
) -> Any:
    run = trainer(folder, **({"max_epochs": 2} | options))
    run.fit(module, source or data())
    return run


def everything(module: ForecastTask, source: SeriesData, split: str) -> tuple[Any, Any]:
    """Standardised forecasts and targets of all windows of a split at once."""
    windows = source.windows(split)
    batch = windows[range(len(windows))]
    with torch.no_grad():
        output = module.eval().surrogate.normalized(batch.history)
    return output, module.surrogate.normalize_targets(batch.targets)


def test_training_learns_the_cycle(tmp_path: Path) -> None:
    module = task()
    run = fit(tmp_path, module, max_epochs=8)
    figures = {name: float(value) for name, value in run.callback_metrics.items()}
    repeated = module.profiles["validation"]["persistence_mse_by_step"]
    assert figures["validation/mse/clean"] < 0.2 * sum(repeated) / HORIZON


def test_figures_are_means_over_all_windows_steps_and_targets(tmp_path: Path) -> None:
    module, source = task(), data(targets=["a", "c"])
    run = fit(tmp_path, module, source)
    figures = run.test(module, source, verbose=False)[0]
    output, target = everything(module, source, "test")
    assert figures["test/mse/clean"] == pytest.approx((output - target).square().mean().item())
    assert figures["test/mae/clean"] == pytest.approx((output - target).abs().mean().item())
    assert len(output) % 7 != 0  # the last batch is a short one


def test_errors_by_step_and_target_are_kept(tmp_path: Path) -> None:
    module, source = task(), data(targets=["c", "a"])
    fit(tmp_path, module, source)
    output, target = everything(module, source, "validation")
    squared = (output - target).square()
    found = {name: torch.tensor(values) for name, values in module.profiles["validation"].items()}
    torch.testing.assert_close(found["mse_by_step"], squared.mean((0, 2)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["mse_by_variate"], squared.mean((0, 1)), atol=1e-5, rtol=1e-4)
    scale = module.surrogate.normalizer.std[[2, 0]]
    physical = (output - target).abs().mean((0, 1)) * scale
    torch.testing.assert_close(
        found["mae_physical_by_variate"], physical, atol=1e-5, rtol=1e-4, check_dtype=False
    )


def test_the_paper_protocol_labels_and_drops_but_averages_alike(tmp_path: Path) -> None:
    module, source = task(), data(protocol="paper", drop_last_test=32)
    run = fit(tmp_path, module, source)
    figures = run.test(module, source, verbose=False)[0]
    assert len(source.windows("test")) == 32
    output, target = everything(module, source, "test")
    assert figures["test/mse/paper"] == pytest.approx((output - target).square().mean().item())


def test_figures_in_the_units_of_the_data(tmp_path: Path) -> None:
    module, source = task(physical_metrics=["mae", "rmse"]), data(targets=["a"])
    run = fit(tmp_path, module, source)
    figures = run.test(module, source, verbose=False)[0]
    scale = module.surrogate.normalizer.std[0].item()
    assert figures["test/mae_physical/clean"] == pytest.approx(
        scale * figures["test/mae/clean"], rel=1e-5
    )
    root = figures["test/mse/clean"] ** 0.5
    assert figures["test/rmse_physical/clean"] == pytest.approx(scale * root, rel=1e-5)


def test_the_networks_penalty_joins_the_training_loss_only() -> None:
    net, source = Balanced(LOOKBACK, HORIZON), data()
    module = task(net, loss=MeanAbsoluteError())
    module.surrogate.fit_to(source.description(), *source.normalizers())
    batch = source.windows("train")[range(5)]
    prediction = module.train().predict_batch(batch)
    assert prediction.penalty is not None
    torch.testing.assert_close(prediction.penalty, net.map.weight.square().sum())
    assert module.eval().predict_batch(batch).penalty is None


def test_the_penalty_moves_the_weights(tmp_path: Path) -> None:
    norms = []
    for kind in (Plain, Balanced):
        torch.manual_seed(0)
        net = kind(LOOKBACK, HORIZON)
        module = task(net, optimizer=lambda params: SGD(params, lr=0.05))
        fit(tmp_path, module, max_epochs=1)
        norms.append(net.map.weight.detach().norm().item())
    assert norms[1] < 0.8 * norms[0]


def test_training_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    # a learning rate that ruins everything after the first epoch
    module = task(optimizer=lambda params: SGD(params, lr=2.0))
    stop = EarlyStopping("validation/mse/clean", patience=2, check_finite=False)
    callbacks = [stop, RunFolder(tmp_path / "run", report=False), Checkpoints()]
    run = fit(
        tmp_path, module, max_epochs=30, callbacks=callbacks, enable_checkpointing=True,
        gradient_clip_val=0.5,
    )  # fmt: skip
    assert run.current_epoch < 30
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert best["global_step"] == callbacks[-1].best_step
    torch.testing.assert_close(module.state_dict(), best["state_dict"])


def test_a_killed_and_resumed_run_ends_in_the_same_state(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int, resume: bool = False) -> dict[str, Any]:
        torch.manual_seed(0)
        net = Plain(LOOKBACK, HORIZON, dropout=0.3)
        keeper = Checkpoints(folder, every_n_steps=1)
        options = {"callbacks": [keeper, ExactResume()], "enable_checkpointing": True}
        path = folder / "last.ckpt" if resume else None
        once = trainer(folder, max_epochs=epochs, **options)
        module = task(net, ema_decay=0.9)
        once.fit(module, data(), ckpt_path=path, weights_only=True)
        return read_checkpoint(folder / "last.ckpt")

    whole = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 3, resume=True)
    assert whole["global_step"] == parts["global_step"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    for name, value in whole["training_weights"].items():
        assert torch.equal(value, parts["training_weights"][name]), name


def test_accumulated_batches_equal_a_joint_one(tmp_path: Path) -> None:
    weights = []
    for size, times in ((8, 1), (4, 2)):
        module = task(optimizer=lambda params: SGD(params, lr=0.1))
        source = data(batch_size=size, dtype="float64")
        options = {"accumulate_grad_batches": times, "precision": "64-true"}
        fit(
            tmp_path,
            module.double(),
            source,
            max_epochs=1,
            limit_train_batches=4 * times,
            **options,
        )
        weights.append(module.surrogate.net.trend.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-9, atol=1e-12)


def test_half_precision_trains_and_measures_in_full(tmp_path: Path) -> None:
    module = task()
    run = fit(tmp_path, module, max_epochs=8, precision="bf16-mixed")
    assert module.surrogate.net.trend.weight.dtype == torch.float32
    assert float(run.callback_metrics["validation/mse/clean"]) < 0.2


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler() is not None, reason="no C++ compiler")
def test_a_compiled_network_trains_alike(tmp_path: Path) -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        module = task(Balanced(LOOKBACK, HORIZON), compile=compiled)
        weights = set(module.state_dict())
        run = fit(tmp_path, module, max_epochs=1)
        found.append(float(run.callback_metrics["validation/mse/clean"]))
        assert set(module.state_dict()) == weights
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    # what training called, in place of forward, was compiled as well
    assert hasattr(module.surrogate.net.forecast_and_penalty, "_torchdynamo_orig_callable")


def test_the_report_shows_forecasts_and_errors(tmp_path: Path) -> None:
    callbacks = [RunFolder(tmp_path, title="cycles"), Checkpoints()]
    options = {"callbacks": callbacks, "logger": MetricsLogger(), "enable_checkpointing": True}
    fit(tmp_path, task(), max_epochs=1, **options)
    page = (tmp_path / "report.html").read_text()
    for text in (
        "Forecasts",
        "Errors",
        "MAE in its unit",
        "persistence",
        "12 steps in, 4 steps out",
    ):
        assert text in page, text
    assert len(list((tmp_path / "plots").glob("*.png"))) == 2
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        row = list(csv.DictReader(stream))[-1]
    assert row["validation/mse/clean"]


@pytest.mark.fault
def test_windows_of_another_size_than_the_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the network has lookback=9, the data give 12: set model"):
        fit(tmp_path, task(DLinear(lookback=9, horizon=HORIZON)))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["mze"]}, "unknown metric 'mze'"),
        ({"physical_metrics": ["mze"]}, "unknown metric 'mze'"),
        ({"monitor": "rmse"}, "monitor 'rmse' is not among"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)


SCRIPT = """
import sys, torch
from tests.forecasting.test_task import data, task
from tests.training.toy import trainer
from surform.cli.fit_progress import quiet
quiet()
devices, folder = int(sys.argv[1]), sys.argv[2]
module = task(ema_decay=0.5).double()
source = data(batch_size=8 // devices, dtype="float64")
options = dict(devices=devices, strategy="ddp") if devices > 1 else {}
run = trainer(folder, max_epochs=2, precision="64-true", **options)
run.fit(module, source)
run.save_checkpoint(folder + "/end.ckpt", weights_only=False)
if run.is_global_zero:
    figures = {k: v.item() for k, v in run.callback_metrics.items() if k.startswith("validation")}
    torch.save((figures, module.profiles), folder + "/figures.pt")
"""


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path) -> None:
    require_same_weights(SCRIPT, tmp_path)
    figures = [torch.load(tmp_path / n / "figures.pt") for n in ("1", "2")]
    assert figures[0][0] == pytest.approx(figures[1][0], rel=1e-6)
    for name, values in figures[0][1]["validation"].items():
        assert values == pytest.approx(figures[1][1]["validation"][name], rel=1e-6), name
