"""SAM in the shared loop: clipping, logging, statistics, averages, resuming, two processes."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.optim import SGD, Adam

from surform.cli.fit_config import apply_overrides
from surform.cli.lightning_cli import SurformCLI, resolve
from surform.operators.galerkin import GalerkinTransformer1d
from surform.operators.task import FieldTask
from surform.training.checkpoint import read_checkpoint
from surform.training.checkpoints import Checkpoints
from surform.training.resume import ExactResume
from surform.training.schedules import Constant
from surform.training.sharded import Sharded
from surform.training.sharpness import SharpnessAware
from tests.training.test_resume import Kill, Killed, differences
from tests.training.toy import Smooth, ToyData, trainer
from tests.training.two_processes import require_same_weights


def sam(params: Any, rho: float = 0.3, adaptive: bool = False) -> SharpnessAware:
    return SharpnessAware(params, partial(SGD, lr=0.05), rho, adaptive)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(7)


def task(net: nn.Module | None = None, optimizer: Any = sam, **options: Any) -> FieldTask:
    net = Smooth() if net is None else net
    return FieldTask(net=net, optimizer=optimizer, schedule=Constant(), **options)


class Watch(Callback):
    """Every evaluation's loss, what is logged, and the gradients that are stepped by."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.logged: list[float] = []
        self.clipped: list[float] = []

    def on_before_backward(self, trainer: Any, module: Any, loss: Tensor) -> None:
        self.losses.append(loss.item())

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.logged.append(trainer.callback_metrics["train/loss"].item())
        squares = [p.grad.square().sum() for p in module.parameters() if p.grad is not None]
        self.clipped.append(torch.stack(squares).sum().sqrt().item())


def fit(made: FieldTask, folder: Path, *callbacks: Callback, data: Any = None, **options: Any):
    run = trainer(folder, callbacks=list(callbacks), **({"max_epochs": 2} | options))
    run.fit(made, data or ToyData())
    return run


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_loop_takes_the_published_steps(tmp_path: Path, adaptive: bool, clip: float | None):
    made = task(Smooth().double(), partial(sam, adaptive=adaptive))
    data = ToyData(dtype=torch.float64)
    made.surrogate.fit_to(data.description(), *data.normalizers())
    twin = copy.deepcopy(made)
    fit(made, tmp_path, data=data, max_steps=4, gradient_clip_val=clip, precision="64-true")
    optimizer = SGD(twin.parameters(), lr=0.05)
    for batch in list(data.train_dataloader())[:4]:
        before = [p.detach().clone() for p in twin.parameters()]
        size = [p.abs() if adaptive else torch.ones_like(p) for p in before]
        gradients = gradients_of(twin, batch)
        norm = sum((s * g).square().sum() for s, g in zip(size, gradients, strict=True)).sqrt()
        with torch.no_grad():
            for p, s, g in zip(twin.parameters(), size, gradients, strict=True):
                p += 0.3 * s**2 * g / norm
        gradients = gradients_of(twin, batch)
        for p, old, g in zip(twin.parameters(), before, gradients, strict=True):
            p.data.copy_(old)
            p.grad = g
        if clip:
            nn.utils.clip_grad_norm_(twin.parameters(), clip)
        optimizer.step()
    for ours, theirs in zip(made.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def gradients_of(made: FieldTask, batch: Any) -> tuple[Tensor, ...]:
    loss = made.loss(made.predict_batch(batch), batch)
    return torch.autograd.grad(loss, list(made.parameters()))


def test_the_loss_of_the_model_is_logged_once_a_step(tmp_path: Path):
    watch = Watch()
    run = fit(task(), tmp_path, watch, max_steps=3, num_sanity_val_steps=0)
    assert run.global_step == 3
    assert len(watch.losses) == 6
    assert watch.logged == pytest.approx(watch.losses[::2])
    assert all(high > low for low, high in zip(watch.losses[::2], watch.losses[1::2], strict=True))


def test_clipping_values_leaves_the_direction_of_the_ascent_alone(tmp_path: Path):
    free, clipped, twin = Watch(), Watch(), copy.deepcopy(made := task())
    fit(made, tmp_path, free, max_steps=1)
    options = {"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value"}
    fit(twin, tmp_path, clipped, max_steps=1, **options)
    assert clipped.losses == free.losses
    assert clipped.clipped[0] < free.clipped[0]


def test_both_evaluations_drop_the_same_units(tmp_path: Path):
    """With no step between them, dropout alone could tell the two losses apart."""
    watch = Watch()
    fit(task(Smooth(dropout=0.5), partial(sam, rho=0.0)), tmp_path, watch, max_steps=3)
    assert watch.losses[::2] == watch.losses[1::2]


def test_an_operator_with_batch_norm_and_dropout_trains(tmp_path: Path):
    def train(optimizer: Any) -> GalerkinTransformer1d:
        torch.manual_seed(3)
        net = GalerkinTransformer1d(
            dim=8, depth=1, decoder_dim=4, modes=3, head_norm=None, batch_norm=True, dropout=0.1
        )
        fit(task(net, optimizer, ema_decay=0.5), tmp_path, max_steps=4, precision="bf16-mixed")
        return net

    found, plain = train(sam), train(partial(SGD, lr=0.05))
    assert all(p.isfinite().all() for p in found.parameters())
    buffers, expected = dict(found.named_buffers()), dict(plain.named_buffers())
    counts = [name for name in buffers if name.endswith("num_batches_tracked")]
    assert counts
    assert all(buffers[name] == expected[name] == 4 for name in counts)


class Weights(Callback):
    """The weights and the learning rate after every step."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor]] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        self.weights.append([p.detach().clone() for p in module.parameters()])
        optimizer = trainer.optimizers[0]
        base = getattr(optimizer, "base", optimizer)  # the one that steps
        self.rates.append(base.param_groups[0]["lr"])


def test_averages_and_schedules_see_the_weights_after_the_step(tmp_path: Path):
    def train(optimizer: Any) -> Weights:
        seen, made = Weights(), FieldTask(net=Smooth(), optimizer=optimizer, ema_decay=0.5)
        average = [p.detach().clone() for p in made.parameters()]
        fit(made, tmp_path, seen, max_steps=6)
        for weights in seen.weights:
            average = [(a + w) / 2 for a, w in zip(average, weights, strict=True)]
        for a, p in zip(average, made.parameters(), strict=True):
            torch.testing.assert_close(p, a)  # the average is what a run ends with
        return seen

    found, plain = train(sam), train(partial(SGD, lr=0.05))
    assert found.rates == plain.rates
    assert len(set(found.rates)) == 6


@pytest.mark.parametrize("kill", [10, 7])
def test_a_killed_and_resumed_run_ends_in_the_same_state(tmp_path: Path, kill: int):
    def run(name: str, kill: int = 0, resume: bool = False) -> None:
        folder, base = tmp_path / name, partial(Adam, lr=1e-2)
        keeper, stop = Checkpoints(folder, every_n_steps=1), [Kill(kill)] if kill else []
        callbacks = [keeper, ExactResume(), *stop]
        options = {"max_epochs": 4, "enable_checkpointing": True}
        optimizer = partial(SharpnessAware, base_optimizer=base, rho=0.2)
        torch.manual_seed(7)
        made = task(Smooth(dropout=0.2), optimizer, ema_decay=0.9)
        path = folder / "last.ckpt" if resume else None
        trainer(folder, callbacks=callbacks, **options).fit(
            made, ToyData(), ckpt_path=path, weights_only=True
        )

    run("whole")
    with pytest.raises(Killed):
        run("cut", kill=kill)
    run("cut", resume=True)
    whole, cut = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "cut"))
    assert whole["global_step"] == 20
    assert differences(whole, cut) == []


SCRIPT = """
import sys, torch
from functools import partial
from torch.optim import SGD
from tests.training.toy import Smooth, ToyData, trainer
from surform.operators.task import FieldTask
from surform.training.sharpness import SharpnessAware
from surform.cli.fit_progress import quiet
quiet()
devices, folder = int(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
base = partial(SGD, lr=0.1, momentum=0.9)
task = FieldTask(
    net=Smooth().double(), optimizer=lambda p: SharpnessAware(p, base, rho=0.3, adaptive=True)
)
data = ToyData(samples=24, batch_size=8 // devices, validation=7, dtype=torch.float64)
options = dict(devices=devices, strategy="ddp") if devices > 1 else {}
run = trainer(folder, max_epochs=2, precision="64-true", gradient_clip_val=0.5, **options)
run.fit(task, data)
run.save_checkpoint(folder + "/end.ckpt", weights_only=False)
"""


@pytest.mark.slow
def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path):
    require_same_weights(SCRIPT, tmp_path)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate_grad_batches": 2}, "leave trainer.accumulate_grad_batches at 1"),
        ({"callbacks": [GradientAccumulationScheduler({1: 2})]}, "cannot be accumulated"),
        ({"plugins": ["scaler"]}, "loss scaling of precision .* use bf16-mixed or 32-true"),
        ({"strategy": FSDPStrategy()}, "FSDPStrategy does not keep: use ddp"),
        ({"strategy": Sharded()}, "Sharded does not keep: use ddp"),
    ],
)
def test_what_cannot_evaluate_a_batch_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
):
    if "plugins" in options:
        scaler = torch.amp.GradScaler("cpu")
        options = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}
    run = trainer(tmp_path, max_epochs=1, **({} if "strategy" in options else options))
    if "strategy" in options:  # which needs a GPU or two processes to begin with
        monkeypatch.setattr(type(run), "strategy", options["strategy"])
    made = task()
    made._trainer = run
    with pytest.raises(ValueError, match=message) as error:
        made.configure_optimizers()
    assert "\n" not in str(error.value)


def test_a_configuration_builds_it_by_its_short_name():
    config: dict[str, Any] = {
        "model": {
            "class_path": "surform.operators.task.FieldTask",
            "init_args": {"net": {"class_path": "tests.training.toy.Smooth"}},
        },
        "data": {"class_path": "tests.training.toy.ToyData"},
        "trainer": {"accelerator": "cpu", "logger": False, "enable_checkpointing": False},
    }
    words = ["--model.optimizer", "SharpnessAware", "--model.optimizer.rho", "0.7"]
    words += ["--model.optimizer.base_optimizer", "SGD", "--model.optimizer.base_optimizer.lr", "3"]
    cli = SurformCLI(resolve(apply_overrides(config, words), []))
    optimizer = cli.model.optimizer_factory(list(cli.model.parameters()))
    assert isinstance(optimizer, SharpnessAware)
    assert isinstance(optimizer.base, SGD)
    assert {n: optimizer.param_groups[0][n] for n in ("rho", "lr")} == {"rho": 0.7, "lr": 3.0}
