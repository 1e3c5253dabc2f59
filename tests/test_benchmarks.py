"""The tables of the benchmark page are those of the result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.channel import Case, Run, figures
from benchmarks.tables import BEGIN, END, PAGE, tables, with_tables


def test_tables_show_machine_and_rows(tmp_path: Path) -> None:
    rows = [{"case": "one", "forward_ms": 12.3456, "turns": [1, 2], "compiled": False}]
    result = {"machine": {"processor": "P", "commit": "abc"}, "rows": rows}
    (tmp_path / "some-models.json").write_text(json.dumps(result))
    text = tables(tmp_path)
    assert "## Some models" in text
    assert "Taken on: processor P, commit abc." in text
    assert "| case | forward ms | compiled |" in text
    assert "| one | 12.3 | no |" in text


def test_only_the_marked_section_is_written() -> None:
    page = PAGE.read_text(encoding="utf-8")
    changed = with_tables(page, "new")
    assert changed.partition(BEGIN)[0] == page.partition(BEGIN)[0]
    assert changed.partition(END)[2] == page.partition(END)[2]
    assert with_tables(changed, "new") == changed


def test_a_channel_run_goes_on_and_never_counts_its_spin_up(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    with torch.inference_mode():
        short = Run(Case((8, 17, 8), (3.0, 1.0), 0.06), 0.06, file)
        short.go()
        assert (short.spin_up, short.frames, short.counted) == (3, 3, 3)
        longer = Run(Case((8, 17, 8), (3.0, 1.0), 0.1), 0.06, file)
        longer.go()
        assert longer.counted == longer.statistics.sums["frames"] == 5
        again = Run(Case((8, 17, 8), (3.0, 1.0), 0.06), 0.06, file)
        again.go()
        assert figures(again)[0] == figures(longer)[0]
        with pytest.raises(ValueError, match="begun with 3 frames of spin-up, not 1"):
            Run(Case((8, 17, 8), (3.0, 1.0), 0.1), 0.01, file)
