"""The training loop on toy problems: it learns, labels, clips curricula, refuses nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import Adam

from surform.layers.compiler import missing_compiler
from surform.operators.task import FieldTask
from surform.training.losses import RelativeL2
from surform.training.schedules import Constant
from tests.training.toy import Decay, Smooth, ToyData, trainer


def adam(params: Any) -> Adam:
    return Adam(params, lr=1e-2)


def fit(task: FieldTask, folder: Path, data: ToyData | None = None, **options: Any) -> Any:
    run = trainer(folder, **({"max_epochs": 2} | options))
    run.fit(task, data or ToyData(frames=4 if task.surrogate.time_window else 0))
    return run


def test_training_on_time_windows_finds_the_decay(tmp_path: Path) -> None:
    task = FieldTask(net=Decay(), optimizer=adam, schedule=Constant())
    run = fit(task, tmp_path, max_epochs=12)
    assert task.surrogate.net.factor.item() == pytest.approx(0.8, abs=0.05)
    assert float(run.callback_metrics["validation/relative_l2/clean"]) < 0.1


def test_every_evaluated_number_names_its_protocol(tmp_path: Path) -> None:
    data = ToyData()
    data.protocol = "paper"
    run = fit(FieldTask(net=Smooth()), tmp_path, data)
    figures = [name for name in run.callback_metrics if name.startswith("validation/")]
    assert figures
    assert all(name.endswith("/paper") for name in figures)


def test_evaluation_counts_every_window_of_an_uneven_last_batch(tmp_path: Path) -> None:
    results = []
    for batch_size in (7, 4):  # one batch of 7, or 4 and 3
        torch.manual_seed(0)
        task = FieldTask(net=Smooth())
        run = fit(task, tmp_path, ToyData(batch_size=batch_size), max_epochs=1, max_steps=0)
        results.append(run.validate(task, ToyData(batch_size=batch_size), verbose=False)[0])
    assert results[0] == pytest.approx(results[1], rel=1e-6)


def test_normalisers_and_description_come_from_the_data(tmp_path: Path) -> None:
    task, data = FieldTask(net=Smooth()), ToyData()
    fit(task, tmp_path, data)
    torch.testing.assert_close(task.surrogate.target_normalizer.mean, data.normalizers()[1].mean)
    assert task.surrogate.description == data.description()


def test_the_curriculum_grows_as_published() -> None:
    task = FieldTask(net=Decay(), steps=4, curriculum_start=1, curriculum_length=6000)
    found = [task.latent_steps(i) for i in (0, 1999, 2000, 3999, 4000, 5999, 6000, 9000)]
    assert found == [1, 1, 2, 2, 3, 3, 4, 4]


def test_pushforward_comes_every_third_iteration_after_its_start() -> None:
    task = FieldTask(net=Decay(), steps=2, pushforward_after=8000)
    assert [i for i in range(7995, 8010) if task.pushes_forward(i)] == [8001, 8004, 8007]


def test_pushforward_trains_on_the_block_after_its_own_rollouts(tmp_path: Path) -> None:
    task = FieldTask(net=Decay(0.5), steps=2, pushforward_after=0, pushforward_rollouts=1)
    data = ToyData(frames=4)
    task.surrogate.fit_to(data.description(), *data.normalizers())
    batch = data.collate([0, 1])
    window, targets = task._push_forward(batch.inputs, batch)
    assert torch.equal(targets, batch.targets[:, 2:4])
    rolled = task.surrogate(batch.inputs, batch.coordinates, 2)
    torch.testing.assert_close(window, rolled)
    assert not window.requires_grad


def test_evaluation_feeds_predictions_back_in_calls_of_steps_frames() -> None:
    task = FieldTask(net=Decay(0.5), steps=2)
    data = ToyData(frames=5)
    task.surrogate.fit_to(data.description(), *data.normalizers())
    batch = data.collate([0])
    output = task.evaluate_batch(batch).output
    powers = 0.5 ** torch.arange(1, 6, dtype=torch.float32).view(1, -1, 1, 1)
    normal = data.normalizers()[0]
    expected = normal.denormalize(normal.normalize(batch.inputs[:, -1:]) * powers)
    torch.testing.assert_close(output, expected)


def test_losses_on_normalised_fields_compare_normalised_fields() -> None:
    task, data = FieldTask(net=Smooth(), loss_on="normalized"), ToyData()
    task.surrogate.fit_to(data.description(), *data.normalizers())
    batch = data.collate([0, 1])
    seen = task._compare(batch.inputs, batch.targets, batch, None)
    physical = task.evaluate_batch(batch)
    normal = data.normalizers()[1]
    torch.testing.assert_close(normal.denormalize(seen.output), physical.output)
    torch.testing.assert_close(normal.denormalize(seen.target), batch.targets)


def test_a_zero_boundary_reaches_the_loss() -> None:
    task, data = FieldTask(net=Smooth(), boundary="zero"), ToyData()
    task.surrogate.fit_to(data.description(), *data.normalizers())
    batch = data.collate([0])
    output = task._compare(batch.inputs, batch.targets, batch, None).output
    assert output[:, [0, -1]].abs().max() == 0


def test_walls_hold_in_training_pushforward_and_evaluation() -> None:
    options: Any = {"steps": 2, "pushforward_after": 0, "pushforward_rollouts": 1}
    task, data = FieldTask(net=Decay(0.5), walls=["u"], **options), ToyData(frames=4)
    task.surrogate.fit_to(data.description(), *data.normalizers())
    batch = data.collate([0, 1])
    seen = [
        task._compare(batch.inputs, batch.targets[:, :2], batch, 2).output,
        task._push_forward(batch.inputs, batch)[0],
        task.evaluate_batch(batch).output,
    ]
    for fields in seen:
        assert fields[:, :, 0].abs().max() == 0
        assert fields[:, :, 1:].abs().min() > 0
    assert seen[2].shape == batch.targets.shape
    assert batch.targets[:, :, 0].abs().min() > 0


@pytest.mark.fault
def test_a_loss_that_blows_up_ends_training_with_a_reason(tmp_path: Path) -> None:
    data = ToyData()
    data.inputs[3] = float("nan")
    task = FieldTask(net=Smooth())
    task.surrogate.fit_to(data.description(), *ToyData().normalizers())
    data.normalizers = ToyData().normalizers  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="training loss became nan at step"):
        fit(task, tmp_path, data, num_sanity_val_steps=0)


@pytest.mark.fault
def test_networks_that_do_not_fit_the_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"in_channels=2, the data give 1 \(u\)"):
        fit(FieldTask(net=Smooth(in_channels=2)), tmp_path)


def test_bfloat16_mixed_trains(tmp_path: Path) -> None:
    run = fit(FieldTask(net=Smooth()), tmp_path, precision="bf16-mixed")
    assert torch.isfinite(run.callback_metrics["validation/relative_l2/clean"])


def test_gradients_accumulate_and_are_clipped_by_the_trainer(tmp_path: Path) -> None:
    run = fit(FieldTask(net=Smooth()), tmp_path, accumulate_grad_batches=2, gradient_clip_val=0.1)
    assert run.global_step == 2 * 3  # five batches an epoch


def test_without_a_compiler_compile_warns_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    task = FieldTask(net=Smooth(), compile=True)
    with pytest.warns(UserWarning, match=r"no-such-compiler.*runs uncompiled; see surform doctor"):
        fit(task, tmp_path)
    assert set(task.state_dict()) == set(FieldTask(net=Smooth()).state_dict())


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler() is not None, reason="no C++ compiler")
def test_a_compiled_network_trains_and_keeps_the_names_of_its_weights(tmp_path: Path) -> None:
    task = FieldTask(net=Smooth(), compile=True)
    names = list(task.state_dict())
    run = fit(task, tmp_path, max_epochs=1)
    assert list(task.state_dict()) == names
    assert torch.isfinite(run.callback_metrics["validation/relative_l2/clean"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["relative_l3"]}, "unknown metric 'relative_l3'"),
        ({"monitor": "h1"}, "monitor 'h1' is not among"),
        ({"ema_decay": 1.0}, "ema_decay must lie in"),
        ({"loss_on": "log"}, "loss_on must be"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"curriculum_length": 5}, "a curriculum needs steps"),
        ({"pushforward_after": 5}, "pushforward training needs steps"),
        ({"pushforward_every": 0}, "pushforward_every and"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FieldTask(net=Decay(), loss=RelativeL2(), **options)


def test_pushforward_says_how_many_frames_it_needs(tmp_path: Path) -> None:
    task = FieldTask(net=Decay(), steps=2, pushforward_after=0)
    with pytest.raises(ValueError, match="needs target_steps >= 6, the data give 4"):
        fit(task, tmp_path)
