"""The page and the table of a rollout."""

from __future__ import annotations

import numpy as np
import pytest

from surform.rollout import Ensemble, Trajectories, rollout_to
from surform.rollout.choose import observers_for
from surform.rollout.report import rollout_report
from surform.rollout.summary import blow_ups, summarize, variables


@pytest.fixture
def rolled(linear, flow, describe):
    """`rolled(data, ...)`: a rollout with all observers, and the truth beside it."""

    def make(data, steps=12, factor=0.95, ensemble=None, **description):
        about = describe(data, **description)
        course = Trajectories.of(data, about)
        observers = observers_for(course.grid, ensemble.members if ensemble else 1)
        prediction = rollout_to(
            None,
            linear(factor).double(),
            data,
            steps,
            description=about,
            observers=observers,
            ensemble=ensemble,
        )
        return prediction, course.future(steps)

    return make


def test_page_is_self_contained_and_shows_every_part(rolled, flow, tmp_path):
    prediction, truth = rolled(flow())
    path = rollout_report(tmp_path / "report.html", prediction, truth, title="Waves & decay")
    html = path.read_text()
    assert path.stat().st_size < 5e6
    for part in ("in motion", "Error over time", "Spectrum", "Integrals", "Figures"):
        assert part in html
    assert "Waves &amp; decay" in html
    assert "http://" not in html
    assert "https://" not in html
    assert 'src="data:image/png;base64,' in html
    assert 'src="/' not in html


def test_page_without_truth_has_fields_and_spectra_only(rolled, flow, tmp_path):
    prediction, truth = rolled(flow(frames=2))
    assert truth is None
    html = rollout_report(tmp_path / "r.html", prediction, truth, title="t").read_text()
    assert "Spectrum" in html
    assert "Error over time" not in html


def test_blow_up_is_told(rolled, flow, tmp_path):
    prediction, truth = rolled(flow(), factor=3.0)
    html = rollout_report(tmp_path / "r.html", prediction, truth, title="t").read_text()
    assert "3 of 3" in html
    assert "times its initial size" in html
    assert blow_ups(prediction) == (3, 3)


def test_summary_compares_with_persistence(rolled, flow):
    prediction, _ = rolled(flow(), steps=10)
    rows = {row["figure"]: row for row in summarize(prediction)}
    assert variables(prediction) == ["vorticity"]
    first = rows["relative L2, step 1"]
    assert first["model"] == pytest.approx(0.95 / 0.9 - 1)
    assert first["persistence"] == pytest.approx(1 / 0.9 - 1)
    assert rows["time until correlation < 0.9"]["model"] == np.inf


def test_ensembles_get_their_scores_and_a_page(rolled, flow, tmp_path):
    prediction, truth = rolled(flow(), ensemble=Ensemble(members=3, noise=0.1))
    assert any(row["figure"] == "crps, mean over time" for row in summarize(prediction))
    assert rollout_report(tmp_path / "r.html", prediction, truth, title="t").is_file()


def test_closed_boxes_have_no_spectrum(rolled, flow, tmp_path):
    prediction, truth = rolled(flow(), periodic={"x": False, "y": True})
    html = rollout_report(tmp_path / "r.html", prediction, truth, title="t").read_text()
    assert "Spectrum" not in html
    assert "vorticity mean" in html
