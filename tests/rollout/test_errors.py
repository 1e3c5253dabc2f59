"""Errors of fields for which they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from surform.rollout import (
    CRPS,
    RMSE,
    VRMSE,
    Correlation,
    Mean,
    Persistence,
    RelativeL2,
    SpreadSkill,
    correlation_time,
)


@pytest.fixture
def observe(flow, describe):
    """`observe(observer, predictions, truths)`: fields (T, [M,] x, y) of one sample."""

    def run(observer, predictions, truths=None, initial=None) -> xr.Dataset:
        predictions = np.asarray(predictions)
        grid = describe(flow(n=predictions.shape[-2], m=predictions.shape[-1]))
        frames = torch.as_tensor(predictions)
        frames = frames[:, None] if frames.ndim == 3 else frames
        first = frames[0, :1] if initial is None else torch.as_tensor(initial)[None]
        observer.start(grid, first[None, ..., None])
        for step, frame in enumerate(frames):
            known = truths is not None and step < len(truths)
            truth = torch.as_tensor(truths[step])[None, None, ..., None] if known else None
            observer.update(frame[None, ..., None], truth)
        return observer.result()

    return run


X = np.arange(32) * 2 * np.pi / 32
SINE = np.broadcast_to(np.sin(X)[:, None], (32, 8)).copy()
COSINE = np.broadcast_to(np.cos(X)[:, None], (32, 8)).copy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relative_l2_of_a_tenth_more_is_a_tenth(observe, dtype):
    found = observe(RelativeL2(), [SINE.astype(dtype) * 1.1], [SINE.astype(dtype)])
    assert found["vorticity_relative_l2"].item() == pytest.approx(0.1, rel=1e-5)
    assert found["vorticity_relative_l2"].attrs["units"] == "1"


def test_rmse_carries_the_units(observe):
    found = observe(RMSE(), [SINE + 0.25], [SINE])["vorticity_rmse"]
    assert found.item() == pytest.approx(0.25)
    assert found.attrs["units"] == "1/s"


def test_vrmse_of_the_mean_is_one(observe):
    values = np.random.default_rng(0).normal(3, 2, (64, 64))
    found = observe(VRMSE(), [np.full_like(values, values.mean())], [values])
    assert found["vorticity_vrmse"].item() == pytest.approx(1, abs=1e-3)


def test_vrmse_divides_by_the_unbiased_variance(observe):
    truth = np.array([[0.0, 2.0]])
    found = observe(VRMSE(), [truth + 1], [truth])
    assert found["vorticity_vrmse"].item() == pytest.approx((1 / (2 + 1e-7)) ** 0.5)


def test_correlation_of_shifted_waves_is_the_cosine_of_the_shift(observe):
    shifted = np.broadcast_to(np.sin(X + 0.7)[:, None], (32, 8))
    found = observe(Correlation(), [3 * shifted + 5, COSINE, -SINE], [SINE] * 3)
    np.testing.assert_allclose(
        found["vorticity_correlation"][0, 0], [np.cos(0.7), 0, -1], atol=1e-12
    )


def test_correlation_time_is_the_first_frame_below():
    values = [[1, 0.95, 0.89, 0.95, 0.1, np.nan], [1, 1, 0.99, 0.98, 0.97, np.nan]]
    lead = ("time", np.arange(1, 7) * 0.5, {"units": "s"})
    correlation = xr.DataArray(values, {"lead_time": lead}, ("sample", "time"))
    when = correlation_time(correlation, 0.9)
    assert when.values.tolist() == [1.5, np.inf]
    assert when.attrs == {"units": "s", "threshold": 0.9}
    assert correlation_time(correlation, 0.8).values.tolist() == [2.5, np.inf]


def test_a_run_that_blew_up_has_lost_its_correlation():
    lead = ("time", np.arange(1, 5) * 0.5, {"units": "s"})
    values = [[1, 0.99, np.nan, np.nan], [1, 0.99, 0.98, np.nan]]
    correlation = xr.DataArray(values, {"lead_time": lead}, ("sample", "time"))
    ends = xr.DataArray([2, -1], dims="sample")
    assert correlation_time(correlation, 0.9, ends).values.tolist() == [1.5, np.inf]
    assert correlation_time(correlation, 0.9).values.tolist() == [1.5, np.inf]
    # Where every run has ended, only their steps tell that from the end of the truth.
    alone = correlation[:1]
    assert correlation_time(alone, 0.9, ends[:1]).values.tolist() == [1.5]
    assert correlation_time(alone, 0.9).values.tolist() == [np.inf]


def test_mean_drifts_from_the_last_known_frame(observe):
    found = observe(Mean(), [SINE + 1.5, SINE + 2], [SINE + 1], initial=SINE + 1)
    np.testing.assert_allclose(found["vorticity_mean"][0, 0], [1.5, 2])
    np.testing.assert_allclose(found["vorticity_drift"][0, 0], [0.5, 1])
    np.testing.assert_allclose(found["vorticity_drift_truth"][0, 0], [0, np.nan], atol=1e-15)
    assert found["vorticity_drift"].attrs["units"] == "1/s"


def test_persistence_scores_the_last_known_frame(observe):
    found = observe(Persistence(RelativeL2()), [COSINE] * 2, [SINE, 2 * SINE], initial=SINE)
    np.testing.assert_allclose(
        found["vorticity_relative_l2_persistence"][0, 0], [0, 0.5], atol=1e-15
    )


def test_persistence_of_something_without_truth_is_refused():
    with pytest.raises(ValueError, match="Mean compares nothing"):
        Persistence(Mean())


def test_crps_equals_its_definition(observe):
    members = np.random.default_rng(1).normal(size=(1, 5, 6, 4))
    truth = np.random.default_rng(2).normal(size=(6, 4))
    pairs = abs(members[0][:, None] - members[0][None]).sum((0, 1)) / (2 * 5 * 4)
    expected = (abs(members[0] - truth).mean(0) - pairs).mean()
    found = observe(CRPS(), members, [truth])["vorticity_crps"]
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert found.attrs["units"] == "1/s"


def test_crps_is_unbiased_in_the_number_of_members(observe):
    # Members and truth from one normal law: the expected score is 1 / sqrt(pi), for any M.
    random = np.random.default_rng(3)
    truth = random.normal(size=(300, 300))
    for count in (2, 8):
        found = observe(CRPS(), random.normal(size=(1, count, 300, 300)), [truth])
        assert found["vorticity_crps"].item() == pytest.approx(np.pi**-0.5, abs=0.01)


def test_spread_skill_of_an_honest_ensemble_is_one(observe):
    random = np.random.default_rng(4)
    found = observe(
        SpreadSkill(), random.normal(size=(1, 4, 300, 300)), [random.normal(size=(300, 300))]
    )
    assert found["vorticity_spread_skill"].item() == pytest.approx(1, abs=0.01)
    assert found["vorticity_spread"].item() == pytest.approx(1, abs=0.01)
    assert found["vorticity_skill"].item() == pytest.approx(1.25**0.5, abs=0.01)


def test_ensemble_scores_refuse_a_single_member(observe):
    for observer in (CRPS(), SpreadSkill()):
        with pytest.raises(ValueError, match="at least two members"):
            observe(observer, [SINE], [SINE])
