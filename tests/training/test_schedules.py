"""Learning rates over a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from surform.hub.official.fixture import Fixture
from surform.training.schedules import (
    Constant,
    Cosine,
    CosineEpochs,
    DelayedDecay,
    EpochSchedule,
    Halving,
    Milestones,
    OneCycle,
    Plateau,
    RestartedCosine,
    Schedule,
    StepDecay,
)

CASE = Path(__file__).parents[1] / "golden/card/loss_and_schedule.json"


def adam() -> Optimizer:
    return Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)


def rates(schedule: Schedule, steps: int) -> list[float]:
    optimizer = adam()
    scheduler = schedule.build(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_one_cycle_is_torchs_own() -> None:
    optimizer = adam()
    reference = OneCycleLR(
        optimizer, 1e-3, total_steps=40, pct_start=0.2, div_factor=1e4, final_div_factor=1e4
    )
    expected = []
    for _ in range(40):
        expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        reference.step()
    assert rates(OneCycle(pct_start=0.2), 40) == [lr for lr, _ in expected]
    assert {beta for _, beta in expected} != {0.9}  # momentum moves, as in the papers


def test_one_cycle_starts_peaks_and_ends_where_it_says() -> None:
    found = rates(OneCycle(max_lr=0.5, pct_start=0.25, div_factor=10, final_div_factor=100), 40)
    assert found[0] == pytest.approx(0.05)
    assert max(found) == pytest.approx(0.5)
    assert found[-1] == pytest.approx(0.05 / 100, rel=1e-6)


def test_a_resumed_one_cycle_follows_the_new_number_of_steps() -> None:
    first = OneCycle().build(adam(), 10)
    state = first.state_dict()
    assert set(state) <= {"last_epoch", "_step_count", "_last_lr"}
    longer = OneCycle().build(adam(), 100)
    longer.load_state_dict(state)
    assert longer.total_steps == 100


def test_cosine_warms_up_and_reaches_its_end() -> None:
    found = rates(Cosine(warmup=0.1, final=0.01), 100)
    assert found[0] == pytest.approx(1e-4)
    assert max(found) == pytest.approx(1e-3)
    assert found[-1] == pytest.approx(1e-5, rel=0.1)


def test_constant_stays() -> None:
    assert set(rates(Constant(), 5)) == {1e-3}


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneCycle(max_lr=-1.0),
        lambda: OneCycle(pct_start=1.5),
        lambda: OneCycle(div_factor=0.5),
        lambda: Cosine(warmup=1.0),
        lambda: Cosine(final=2.0),
        lambda: CosineEpochs(warmup=-1),
        lambda: RestartedCosine(period=0),
        lambda: RestartedCosine(floor=-1e-6),
        lambda: DelayedDecay(hold=-1),
        lambda: DelayedDecay(decay=0.0),
        lambda: StepDecay(period=0),
        lambda: StepDecay(decay=1.5),
        lambda: Halving().build(adam(), 10),  # it was not told how long an epoch is
    ],
)
def test_impossible_schedules_are_refused(make) -> None:
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("steps", range(1, 12))
def test_one_cycle_is_defined_for_few_steps(steps: int) -> None:
    found = rates(OneCycle(pct_start=0.2), steps)  # at 5 the rise has no length
    assert all(0 < rate <= 1e-3 for rate in found)


def epoch_rates(schedule: EpochSchedule, epochs: int, lr: float, steps: int = 3) -> list[float]:
    """The learning rate of each epoch; asserts that it stays within the epoch."""
    optimizer = Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = schedule.build(optimizer, epochs * steps, steps)
    found = []
    for _ in range(epochs):
        within = set()
        for _ in range(steps):
            within.add(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert len(within) == 1
        found += within
    return found


@pytest.mark.parametrize(
    ("name", "schedule", "lr"),
    [
        ("card_100_w0", CosineEpochs(), 1e-4),
        ("card_100_w20", CosineEpochs(warmup=20), 1e-4),
        ("card_30_w5", CosineEpochs(warmup=5), 2e-3),
        ("type1_10", Halving(), 1e-4),
        ("type3_12", DelayedDecay(), 1e-3),
    ],
)
def test_epoch_schedules_are_the_published_ones(
    name: str, schedule: EpochSchedule, lr: float
) -> None:
    expected = Fixture.load(CASE).named("out")[f"lr.{name}"].tolist()
    assert epoch_rates(schedule, len(expected), lr) == pytest.approx(expected, rel=1e-12, abs=1e-18)


def test_restarted_cosine_begins_anew() -> None:
    found = epoch_rates(RestartedCosine(period=5, floor=1e-6), 7, 1e-3)
    expected = [1e-6 + (1e-3 - 1e-6) * (1 + math.cos(math.pi * e / 5)) / 2 for e in range(5)]
    assert found == pytest.approx([*expected, *expected[:2]], rel=1e-12)


def test_step_decay_is_torchs_own() -> None:
    optimizer = adam()
    reference = StepLR(optimizer, step_size=5, gamma=0.7)
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert epoch_rates(StepDecay(), 12, 1e-3) == pytest.approx(expected, rel=1e-12)


def test_the_last_epoch_may_be_cut_short_and_a_run_may_end_in_its_warm_up() -> None:
    optimizer = adam()
    scheduler = CosineEpochs().build(optimizer, 7, 3)  # three epochs, the last one of one step
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(
        0.5e-3 * (1 + math.cos(math.pi * 2 / 3))
    )
    assert epoch_rates(CosineEpochs(warmup=20), 3, 1e-3) == pytest.approx([1e-3, 5e-5, 1e-4])


def test_a_resumed_epoch_schedule_follows_the_new_number_of_epochs() -> None:
    state = CosineEpochs().build(adam(), 20, 10).state_dict()
    assert set(state) == {"last_epoch", "_step_count", "_last_lr", "base_lrs"}
    longer = CosineEpochs().build(adam(), 100, 10)
    longer.load_state_dict(state)
    assert longer.epochs == 10


def test_milestones_rise_by_steps_and_fall_by_epochs() -> None:
    optimizer = adam()
    schedule = Milestones([3, 5], decay=0.1, warmup=6, start=0.001)
    scheduler = schedule.build(optimizer, 14, 2)
    found = []
    for _ in range(14):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # mmcv: rate * (1 - (1 - step / warmup) * (1 - start))
    rise = [1e-3 * (1 - (1 - step / 6) * (1 - 0.001)) for step in range(6)]
    assert found == pytest.approx([*rise, *[1e-4] * 4, *[1e-5] * 4])
    with pytest.raises(ValueError, match=r"epochs are \[0\], but must be whole numbers >= 1"):
        Milestones([0])
    with pytest.raises(ValueError, match=r"decay is 0, but must lie in \(0, 1\]"):
        Milestones([3], decay=0)


def test_the_plateau_rises_stays_falls_and_rests() -> None:
    found = epoch_rates(Plateau(), 130, 2e-5)
    rise = [0.017422, 0.040762, 0.165299, 0.449329, 0.818731]
    assert [rate / 2e-5 for rate in found[:5]] == pytest.approx(rise, abs=1e-6)
    assert set(found[5:51]) == {2e-5}
    assert found[75] == pytest.approx(2e-5 * 0.505)
    assert found[100:] == pytest.approx([2e-7] * 30)
    assert epoch_rates(Plateau(warmup=0, hold=0, fall=2, final=0), 3, 1.0) == [1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match=r"final is 2, but must lie in \[0, 1\]"):
        Plateau(final=2)
    with pytest.raises(ValueError, match="fall"):
        Plateau(fall=0)
