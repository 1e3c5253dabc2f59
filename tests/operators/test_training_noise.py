"""Noise in training: where it goes, when it is drawn, and what it does to what is learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.optim import SGD

from surform.data.batches import FieldBatch
from surform.data.normalizers import Normalizer
from surform.operators.surrogate import FieldSurrogate
from surform.operators.task import FieldTask
from surform.operators.training_noise import with_noise
from tests.training.toy import Decay, Smooth, ToyData, trainer


def surrogate(**changes) -> FieldSurrogate:
    about = replace(ToyData(frames=4).description(), **changes)
    model = FieldSurrogate(Decay())
    count = about.in_channels
    inputs = Normalizer(torch.zeros(count), torch.arange(1.0, count + 1))
    model.fit_to(about, inputs, Normalizer(torch.zeros(1), torch.ones(1)))
    return model


def test_what_is_fed_back_gets_noise_of_the_asked_for_size():
    inputs = torch.zeros(500, 2, 12, 4)
    about = {"inputs": ("u", "mask", "w"), "targets": ("u",), "parameters": ("re",)}
    noisy = with_noise(inputs, surrogate(**about), 0.1)
    assert float(noisy[..., 0].std()) == pytest.approx(0.1, rel=0.03)
    assert float(noisy[..., 0].mean()) == pytest.approx(0.0, abs=0.01)
    assert not noisy[..., 1:].any()


def test_maps_get_it_on_all_input_variables_but_not_on_parameters():
    inputs = torch.zeros(500, 12, 3)
    model = FieldSurrogate(Smooth())
    about = replace(ToyData().description(), inputs=("a", "b"), parameters=("re",))
    model.fit_to(about, Normalizer(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])), Normalizer(
        torch.zeros(1), torch.ones(1)))  # fmt: skip
    noisy = with_noise(inputs, model, 0.2)
    assert noisy.std((0, 1)).tolist() == pytest.approx([0.2, 0.4, 0.0], rel=0.05)
    assert with_noise(inputs, model, 0.0) is inputs


def test_a_learned_step_is_damped_by_the_known_factor():
    # least squares of 0.8 x on x + s n, for x of variance 1: the factor 0.8 / (1 + s^2)
    level = 0.5
    task = FieldTask(net=Decay(1.0), training_noise=level, steps=1)
    task.surrogate = surrogate()
    x = torch.randn(20_000, 1, 12, 1, generator=torch.Generator().manual_seed(1))
    batch = FieldBatch(x, 0.8 * x, (torch.arange(12.0),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FieldTask, "batches_seen", 0)
        with torch.no_grad():
            found = task.train().predict_batch(batch)
    slope = (found.output * found.target).sum() / found.output.square().sum()
    factor = float(task.surrogate.net.factor.detach())
    assert factor * float(slope) == pytest.approx(0.8 / (1 + level**2), rel=0.01)
    assert torch.equal(found.target, batch.targets)


@pytest.fixture
def quiet_lightning(recwarn):
    """Lightning's own warnings are its business."""
    from surform.cli.fit_progress import quiet

    quiet()


def fitted(folder, noise: float, lr: float = 0.05, seed: int = 0):
    torch.manual_seed(seed)
    task = FieldTask(net=Decay(), training_noise=noise, optimizer=lambda params: SGD(params, lr=lr))
    run = trainer(folder, max_epochs=2)
    run.fit(task, ToyData(frames=4))
    return (
        float(task.surrogate.net.factor.detach()),
        float(run.callback_metrics["train/loss"]),
        float(run.callback_metrics["validation/relative_l2/clean"]),
    )


def test_it_is_drawn_anew_at_every_step_by_seed_and_never_in_validation(tmp_path, quiet_lightning):
    clean, noisy = (fitted(tmp_path, level, lr=1e-12) for level in (0.0, 0.3))
    assert noisy[2] == pytest.approx(clean[2], rel=1e-6)
    assert noisy[1] > 1.01 * clean[1]
    assert fitted(tmp_path, 0.3) == fitted(tmp_path, 0.3)
    assert fitted(tmp_path, 0.3)[0] != fitted(tmp_path, 0.3, seed=1)[0]
    batch = torch.zeros(2, 2, 12, 1)
    assert not torch.equal(*(with_noise(batch, surrogate(), 0.3) for _ in range(2)))


@pytest.mark.fault
def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match=r"training_noise must be 0 or more, got -0\.1"):
        FieldTask(net=Decay(), training_noise=-0.1)
