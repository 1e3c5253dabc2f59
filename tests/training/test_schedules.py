"""Learning rates over a run."""

from __future__ import annotations

import pytest
import torch
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from surform.training.schedules import Constant, Cosine, OneCycle, Schedule


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
    ],
)
def test_impossible_schedules_are_refused(make) -> None:
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("steps", range(1, 12))
def test_one_cycle_is_defined_for_few_steps(steps: int) -> None:
    found = rates(OneCycle(pct_start=0.2), steps)  # at 5 the rise has no length
    assert all(0 < rate <= 1e-3 for rate in found)
