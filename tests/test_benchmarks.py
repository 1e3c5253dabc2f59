"""The tables of the benchmark page are those of the result files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from benchmarks.channel import PUBLISHED, Case, Run, figures, figures_of_data
from benchmarks.literal import row
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


@pytest.mark.parametrize("model", ["hpt", "autoint"])
def test_both_paths_of_a_row_give_the_same(model: str) -> None:
    found = row(model, repeats=1)
    assert 0 <= found["largest_difference"] < 1e-5
    for kind in ("forward", "training"):
        gain = found[f"literal_{kind}_ms"] / found[f"{kind}_ms"]
        assert found[f"{kind}_gain"] == pytest.approx(gain, rel=0.1)


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


def test_stored_turbulence_is_compared_as_it_stands() -> None:
    plus = np.array([0, 11.1, 22.2, 33.4, 44.5, 66.7, 100, 122, 150, 178])
    u_tau, nu = 180 / 4200, 1 / 4200
    y = np.concatenate([plus, 356 - plus[-2::-1]]) * nu / u_tau
    mean = np.interp(np.minimum(y, 2 - y) * u_tau / nu, *np.insert(PUBLISHED, 0, 0, axis=0).T)
    wave = np.sin(2 * np.pi * np.arange(8) / 8)  # along x, of rms 1 / sqrt(2)
    dims = ("sample", "time", "x", "y", "z")
    zero = np.zeros((1, 2, 8, len(y), 2))
    u = zero + u_tau * (mean[:, None] + 2 * wave[:, None, None])
    axes = {"x": np.arange(8) / 8, "y": y, "z": [0.0, 0.5]}
    fields = {"u": (dims, u), "v": (dims, zero), "w": (dims, zero)}
    fields["wall_stress"] = (("sample", "time"), np.full((1, 2), u_tau**2))
    found, _ = figures_of_data(xr.Dataset(fields, axes))
    assert found["Re_tau"] == pytest.approx(180)
    assert found["peak u' rms+"] == pytest.approx(2**0.5, rel=1e-5)
    assert found["peak -u'v'+"] == pytest.approx(0, abs=1e-6)
    assert 0 < found["largest difference of U+"] < 0.3  # of straight lines between the points
