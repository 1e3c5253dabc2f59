from __future__ import annotations

import pytest

from surform.robotics.success_rate import wilson_interval


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    # Brown, Cai and DasGupta, 2001, and scipy's binomtest(...).proportion_ci(method="wilson")
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (8, 20, 0.21880, 0.61342),
     (19, 20, 0.76387, 0.99112)],
)  # fmt: skip
def test_bounds(successes, episodes, low, high):
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.fault
@pytest.mark.parametrize(("successes", "episodes"), [(0, 0), (3, 2), (-1, 4)])
def test_numbers_that_are_no_rate(successes, episodes):
    with pytest.raises(ValueError, match="are no rate"):
        wilson_interval(successes, episodes)
