"""Scores of ensembles: known values, lost members, times past the end of the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surform.rollout import CRPS, Ensemble, RelativeL2, SpreadSkill, rollout_to
from surform.rollout.choose import observers_for
from surform.rollout.report import rollout_report
from surform.rollout.summary import summarize


def scores(observer, frames, truths, about):
    """What an observer finds in frames `(time, sample, member, x, y)`."""
    observer.start(about, frames[0, :, :1, ..., None])
    for step, frame in enumerate(frames):
        truth = truths[step, :, None, ..., None] if step < len(truths) else None
        observer.update(frame[..., None], truth)
    return observer.result()


def literal_crps(members: np.ndarray, truth: np.ndarray) -> float:
    """The fair estimator by its double sum, members along the first axis."""
    count = len(members)
    pairs = np.abs(members[:, None] - members[None, :]).sum((0, 1)) / (2 * count * (count - 1))
    return float((np.abs(members - truth).mean(0) - pairs).mean())


@pytest.fixture
def case(flow, describe):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(4, 3, 5, 16, 12, generator=generator, dtype=torch.float64)
    truths = torch.randn(2, 3, 16, 12, generator=generator, dtype=torch.float64)
    return frames, truths, describe(flow())


def test_scores_are_those_of_their_formulas(case):
    frames, truths, about = case
    crps = scores(CRPS(), frames, truths, about)["vorticity_crps"]
    assert crps.dims == ("sample", "time")
    for sample in range(3):
        expected = literal_crps(frames[1, sample].numpy(), truths[1, sample].numpy())
        assert float(crps[sample, 1]) == pytest.approx(expected, rel=1e-12)
    found = scores(SpreadSkill(), frames, truths, about)
    spread = frames.var(2).mean((2, 3)).sqrt().T
    np.testing.assert_allclose(found["vorticity_spread"], spread)
    skill = (frames[:2].mean(2) - truths).square().mean((2, 3)).sqrt().T
    np.testing.assert_allclose(found["vorticity_skill"][:, :2], skill)
    ratio = spread[:, :2] / skill * (6 / 5) ** 0.5
    np.testing.assert_allclose(found["vorticity_spread_skill"][:, :2], ratio)


def test_the_spread_is_known_past_the_end_of_the_truth(case):
    found = scores(SpreadSkill(), *case)
    assert np.isfinite(found["vorticity_spread"]).all()
    assert np.isnan(found["vorticity_skill"][:, 2:]).all()


def test_members_that_are_lost_are_left_out(case):
    frames, truths, about = case
    broken = frames.clone()
    broken[1:, 0, 3] = torch.nan
    broken[1:, 2, 1:] = torch.inf
    rest = [0, 1, 2, 4]
    for observer, name in ((CRPS(), "crps"), (SpreadSkill(), "spread"), (SpreadSkill(), "skill")):
        found = scores(observer, broken, truths, about)[f"vorticity_{name}"]
        whole = scores(observer, frames, truths, about)[f"vorticity_{name}"]
        fewer = scores(observer, frames[:, :, rest], truths, about)[f"vorticity_{name}"]
        np.testing.assert_allclose(found[:, 0], whole[:, 0])
        np.testing.assert_allclose(found[0, 1], fewer[0, 1])
        np.testing.assert_allclose(found[1, 1], whole[1, 1])
        assert np.isnan(found[2, 1])


def test_a_blown_up_member_spoils_neither_figures_nor_page(flow, describe, tmp_path, monkeypatch):
    data = flow(samples=2, factor=1.0, frames=20)

    class OneGrows(torch.nn.Module):
        description = describe(data)

        def forward(self, inputs, coordinates):
            growth = torch.ones(len(inputs), 1, 1, 1, 1)
            growth[1] = 3.0
            return inputs[:, -1:] * growth

    monkeypatch.setattr("surform.reports.page.Page.figure", lambda self, *rest: self)
    ensemble = Ensemble(4, 1e-3)
    observers = observers_for(OneGrows.description, members=4)
    found = rollout_to(None, OneGrows(), data, 30, ensemble=ensemble, observers=observers)
    assert found.attrs["blow_up"].startswith("sample 0, member 1: step 5")
    spread = found["vorticity_spread"][:, 5]  # the second sample is twice as large
    assert float(spread[0]) == pytest.approx(float(spread[1]) / 2, rel=0.1)
    rows = {row["figure"]: row for row in summarize(found)}
    assert np.isfinite(rows["crps, mean over time"]["model"])
    assert rows["relative L2, step 18"]["runs"] == "7 of 8"
    page = rollout_report(tmp_path / "r.html", found, title="t").read_text()
    assert "Left out, because they blew up: sample 0, member 1." in page
    assert "Ensemble" in page


def test_the_same_seed_gives_the_same_ensemble(linear, flow, describe):
    model = linear(0.9).double()
    model.description = describe(flow())
    one, again, other = (
        rollout_to(None, model, flow(), 3, ensemble=Ensemble(3, 1e-3, seed=s)) for s in (5, 5, 6)
    )
    assert one["vorticity"].equals(again["vorticity"])
    assert not one["vorticity"].equals(other["vorticity"])
    noise = one["vorticity"][:, :, 0] / 0.9 - flow()["vorticity"].isel(time=1)
    deviation = flow()["vorticity"].isel(time=slice(2)).std(("time", "x", "y"))
    assert float((noise.std(("member", "x", "y")) / deviation).mean()) == pytest.approx(
        1e-3, rel=0.1
    )


def test_a_score_of_one_member_is_refused(case):
    frames, truths, about = case
    with pytest.raises(ValueError, match="at least two members"):
        scores(SpreadSkill(), frames[:, :, :1], truths, about)
    assert scores(RelativeL2(), frames[:, :, :1], truths, about)
