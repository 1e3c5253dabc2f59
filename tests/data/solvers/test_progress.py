"""What long work says where no bar can move."""

from __future__ import annotations

from surform.data.solvers import progress


def test_where_there_is_no_terminal_lines_tell_how_far_it_is(monkeypatch, capsys):
    with progress.progress_bar("flow") as show:
        show(0.25)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_SILENCE", -1.0)
    title = "predicting flow[a-c].nc of [/data]"
    with progress.progress_bar(title) as show:
        for done in (0.25, 0.5):
            show(done)
    assert capsys.readouterr().err.splitlines() == [f"{title}: 25%", f"{title}: 50%"]


def test_the_bar_has_the_title_as_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    with progress.progress_bar("flow[a-c] [/data]") as show:
        show(1.0)
    assert "flow[a-c] [/data]" in capsys.readouterr().err
