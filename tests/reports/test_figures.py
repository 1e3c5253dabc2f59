"""Figures: what stands in them, not how they look."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from surform.reports import curves, fields, label, labelled, loss_curves, read_metrics
from surform.reports.images import png
from surform.reports.look import limits, map_name


def field(*shape: int, time: int | None = None):
    axes = {} if time is None else {"time": np.arange(time) * 0.5}
    axes |= {name: np.arange(float(n)) for name, n in zip("xyz", shape, strict=False)}
    size = [len(v) for v in axes.values()]
    return labelled(np.random.default_rng(0).normal(size=size), "w", axes, "1/s")


def images(figure) -> list:
    return [image for axes in figure.axes for image in axes.get_images()]


def test_fields_share_one_symmetric_color_scale():
    prediction, truth = field(8, 6, time=7), 3 * field(8, 6, time=7)
    figure = fields(prediction, truth, times=4)
    shown = images(figure)
    assert len(shown) == 3 * 4
    top = float(abs(truth[[0, 2, 4, 6]]).max())
    assert {image.get_clim() for image in shown} == {(-top, top)}
    np.testing.assert_allclose(shown[8].get_array(), (prediction - truth)[0].values.T)


def test_x_points_right_and_y_up():
    prediction = field(8, 6)
    (image,) = images(fields(prediction))
    assert image.get_array().shape == (6, 8)
    assert image.origin == "lower"


def test_positive_fields_get_a_difference_scale_of_their_own():
    prediction, truth = abs(field(8, 6)), abs(field(8, 6)) + 1
    panels = images(fields(prediction, truth))
    assert panels[0].get_clim() == panels[1].get_clim()
    assert panels[2].get_cmap().name != panels[0].get_cmap().name or panels[2].get_clim() != (
        panels[0].get_clim()
    )


def test_truth_may_end_before_the_prediction():
    figure = fields(field(8, 6, time=6), field(8, 6, time=3), times=[0, 2, 5])
    assert len(images(figure)) == 3 + 2 + 2


def test_a_difference_says_how_large_it_is():
    truth = field(8, 6, time=2)
    truth[1] = 0.0
    figure = fields(1.01 * truth, truth, times=[0, 1])
    below = [axes.get_xlabel() for axes in figure.axes if axes.get_images()]
    assert below == ["", "", "", "", "relative L2 0.01", ""]


def test_three_axes_are_shown_on_the_middle_plane():
    prediction = field(8, 6, 5, time=2)
    figure = fields(prediction, times=[1])
    np.testing.assert_array_equal(images(figure)[0].get_array(), prediction[1, :, :, 2].values.T)


def test_one_axis_is_drawn_as_lines():
    figure = fields(field(16, time=4), field(16, time=4), times=3)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
    assert figure.axes[0].get_ylabel() == "w [1/s]"


def test_four_axes_are_refused():
    crowded = field(3, 3, 3).expand_dims(level=2)
    with pytest.raises(ValueError, match="1 to 3 axes"):
        fields(crowded)


def test_curves_keep_the_colors_of_their_roles():
    lines = {"truth": ([0, 1], [1, 2]), "prediction": ([0, 1], [2, 1]), "persistence": ([0], [1])}
    figure = curves(lines, xlabel="x", ylabel="y", logy=True, bands={"truth": ([0, 1], [2, 3])})
    axes = figure.axes[0]
    assert [line.get_label() for line in axes.lines] == list(lines)
    assert len({line.get_color() for line in axes.lines}) == 3
    assert axes.get_yscale() == "log"
    assert axes.lines[2].get_marker() == "o"


def test_a_curve_may_have_a_style_of_its_own():
    lines = {"truth": ([0, 1], [1, 2]), "ideal": ([0, 1], [0, 1])}
    styles = {"ideal": {"color": "#8a8f98", "linestyle": "--"}}
    axes = curves(lines, xlabel="x", ylabel="y", styles=styles).axes[0]
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    assert axes.lines[1].get_color() == "#8a8f98" != axes.lines[0].get_color()


def test_the_users_matplotlib_settings_survive():
    before = dict(matplotlib.rcParams)
    png(curves({"a": ([0, 1], [0, 1])}, xlabel="x", ylabel="y"))
    assert dict(matplotlib.rcParams) == before


def test_metrics_tables_become_loss_curves(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,validation/loss\n0,0,1.0,\n0,1,0.5,0.7\n0,2,0.25,\n")
    rows = read_metrics(path)
    assert rows[0] == {"epoch": 0, "step": 0, "train/loss": 1.0}
    axes = loss_curves(path).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[1.0, 0.5, 0.25], [0.7]]
    assert [line.get_label() for line in axes.lines] == ["training", "validation"]
    assert axes.get_yscale() == "log"


def test_a_legend_says_what_the_losses_are_of():
    rows = [{"step": 0.0, "train/loss": 1.0}, {"step": 1.0, "validation/loss/clean": 2.0}]
    spans = {"training": "1 frame", "validation": "4 frames in a row"}
    lines = loss_curves(rows, spans=spans).axes[0].lines
    assert [line.get_label() for line in lines] == [f"{k}: {v}" for k, v in spans.items()]
    assert lines[1].get_color() == loss_curves(rows).axes[0].lines[1].get_color()


def test_missing_metrics_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics table at .*metrics\.csv"):
        read_metrics(tmp_path / "metrics.csv")
    with pytest.raises(ValueError, match="none of the columns"):
        loss_curves([{"step": 0.0, "a": 1.0}], {"loss": "b"})


def test_labels_carry_units_unless_dimensionless():
    assert label(field(3)) == "w [1/s]"
    assert label(labelled([1.0], "vorticity_x", {"x": [0]})) == "vorticity x"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1.0, 3.0], (-3.0, 3.0)),
        ([1.0, 3.0], (1.0, 3.0)),
        ([2.0, 2.0], (1.0, 3.0)),
        ([np.nan, 1.0, np.inf, 2.0], (1.0, 2.0)),
        ([np.nan], (0.0, 1.0)),
    ],
)
def test_limits_are_finite_and_symmetric_about_zero_where_signs_differ(values, expected):
    assert limits(np.array(values)) == expected
    assert map_name(*expected) == ("RdBu_r" if expected[0] < 0 else "viridis")
