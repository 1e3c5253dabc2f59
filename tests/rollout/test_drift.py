"""How long a rollout keeps the integrals of the flow."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from surform.rollout.drift import drifts


def rolled(energy: list[list[float]], true: list[float], blown: tuple[int, ...] = (-1, -1)):
    lead = 0.5 * np.arange(1, len(energy[0]) + 1)
    found = {
        "kinetic_energy": (("sample", "time"), np.array(energy)),
        "kinetic_energy_truth": (("sample", "time"), np.array([true] * len(energy))),
        "blow_up_step": ("sample", list(blown)),
    }
    return xr.Dataset(found, {"time": lead, "lead_time": ("time", lead)})


def test_an_integral_is_kept_until_the_mean_over_runs_leaves_the_truth():
    # The means are 2.1, 2.15, 2.3 and 2.1 beside 2: within a tenth up to the second frame.
    (found,) = drifts(rolled([[2.0, 2.0, 2.2, 2.1], [2.2, 2.3, 2.4, 2.1]], [2.0] * 4))
    assert found.name == "kinetic energy"
    assert found.error == pytest.approx(0.08125)
    assert (found.until, found.end, found.kept) == (1.0, 2.0, False)
    assert found.mean() == "8% too high"
    assert found.reach() == "within 10% of the truth up to time 1 of 2"


def test_a_run_that_blew_up_does_not_count():
    (found,) = drifts(rolled([[1.9, 1.9], [2.0, 50.0]], [2.0] * 2, (-1, 1)))
    assert found.kept
    assert found.mean() == "5% too low"
    assert "to the end" in found.sentence()


def test_means_are_over_what_is_known_of_both():
    (found,) = drifts(rolled([[2.0, 2.0, 1.0, 1.0]] * 2, [2.0, 2.0, np.nan, np.nan]))
    assert found.error == 0.0
    data = rolled([[2.2, 2.2], [9.0, 9.0]], [2.0] * 2, (-1, 1))
    data["kinetic_energy_truth"][1] = 4.0
    (found,) = drifts(data)
    assert found.error == pytest.approx(0.1)


def test_the_first_step_may_be_off_already_and_the_truth_may_end_early():
    (found,) = drifts(rolled([[1.0, 1.0, 1.0]] * 2, [2.0, 2.0, np.nan]))
    assert (found.until, found.end) == (0.0, 1.0)
    assert "from the first step on" in found.reach()
    assert drifts(rolled([[1.0]] * 2, [np.nan])) == []
