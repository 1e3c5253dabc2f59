"""The page: escaping, tables, pictures, all in one file."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from surform.reports import Number, Page, fit_report, format_value, player
from surform.reports.plots import labelled

_VOID = {"meta", "img", "input", "br", "hr", "link"}


class _Nesting(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(html: str) -> None:
    """Tags nest, and nothing is fetched from elsewhere."""
    parser = _Nesting()
    parser.feed(html)
    assert parser.open == []
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", html)
    assert "@import" not in html
    assert "url(" not in html


@pytest.fixture
def moving():
    t, x, y = np.arange(5) * 0.5, np.arange(12.0), np.arange(8.0)
    values = np.sin(x[:, None] + t[:, None, None]) * np.cos(y)
    return labelled(values, "vorticity", {"time": t, "x": x, "y": y}, "1/s")


def test_everything_on_a_page_nests(tmp_path, moving):
    figure = Figure()
    figure.subplots().plot([0, 1])
    page = Page("Title", "sub").headline([Number("a", 1.5, "note", True), Number("b", "x")])
    page.section("One", "text\n\nmore").figure(figure, "caption").table([{"a": 1, "b": "c"}])
    page.section("Two").table({"k": 2.0}, "legend").code("a: 1").code("b: 2", "folded")
    page.section("Three").html(player({"prediction": moving, "truth": moving}, "motion"))
    html = page.write(tmp_path / "deep" / "report.html").read_text()
    check(html)
    assert html.count("<h2") == 3
    assert 'href="#s2"' in html
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_text_is_escaped_and_backticks_are_code():
    html = Page("a < b").section("<s>", "1 < 2 & `x < y`").table({"<k>": "<v>"}).render()
    for tag in ("<s>", "<k>", "<v>"):
        assert tag not in html
    assert "1 &lt; 2 &amp; <code>x &lt; y</code>" in html
    assert "<title>a &lt; b</title>" in html


def test_headline_colors_say_good_and_bad():
    html = Page("t").headline([Number("a", 1, good=True), Number("b", 2, good=False)]).render()
    assert 'class="number good"' in html
    assert 'class="number bad"' in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (12.0, "12"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (np.float32(0.5), "0.5"),
        (1e-7, "1e-07"),
        (True, "True"),
        (None, ""),
        ("text", "text"),
    ],
)
def test_values_are_written_as_people_read_them(value, text):
    assert format_value(value) == text


def test_rows_of_a_table_may_lack_columns():
    html = Page("t").table([{"a": 1.0}, {"a": 2.0, "b": "x"}]).render()
    assert html.count("<tr>") == 3
    assert html.count("<td") == 4


def test_failed_writing_leaves_the_old_page(tmp_path, monkeypatch):
    path = Page("old").write(tmp_path / "r.html")
    page = Page("new")
    monkeypatch.setattr(page, "render", lambda: (_ for _ in ()).throw(RuntimeError("no")))
    with pytest.raises(RuntimeError):
        page.write(path)
    assert "old" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_fit_report_has_the_given_parts_only(tmp_path):
    rows = [{"step": s, "train_loss": 1 / (s + 1), "val_loss": 1.0} for s in range(4)]
    html = fit_report(
        tmp_path / "report.html",
        title="run",
        metrics=rows,
        environment={"torch": "2"},
        config="a: 1",
    ).read_text()
    check(html)
    assert "Training" in html
    assert "Environment" in html
    assert "Predictions" not in html


def test_player_is_small_and_refuses_what_it_cannot_show(moving):
    fragment = player({"prediction": moving, "truth": moving.isel(time=slice(3))}, frames=4)
    assert fragment.count("iVBOR") == 4 + 1 + 1  # four frames, the still, the color bar
    assert len(fragment) < 200_000
    with pytest.raises(ValueError, match="over time and 2 or 3 axes"):
        player({"p": moving.isel(x=0, drop=True)})


def test_player_leaves_frames_with_nan_white(moving):
    values = moving.copy(deep=True)
    values[3, 2, 2] = np.nan
    assert player({"prediction": values}) != player({"prediction": moving})
