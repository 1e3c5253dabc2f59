"""Parity with the published data loaders: windows, marks and statistics of public files.

The files are not part of the repository. Stand-ins of the same shapes are always checked against
loops written from the description of the official loaders; the recorded numbers are checked where
SURFORM_FORECASTING_FILES names the folder of the real files.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from surform.cli import main
from surform.hub.official.fixture import Fixture
from surform.hub.verify import verify_case

GOLDEN = Path(__file__).parents[1] / "golden" / "forecasting_data"
CASES = sorted(GOLDEN.glob("*.json"))
FILES = os.environ.get("SURFORM_FORECASTING_FILES")

COLUMNS = ("load", "OT", "humidity")  # the target is not the last


def stand_in(path: Path, rows: int, step: str, slashes: bool = False) -> np.ndarray:
    """A random walk under official column names; returns its values."""
    values = np.random.default_rng(3).standard_normal((rows, len(COLUMNS))).cumsum(0) + 5
    times = np.datetime64("2016-07-01T00:00") + np.arange(rows) * np.timedelta64(1, step)
    lines = [",".join(["date", *COLUMNS])]
    for time, row in zip(times.tolist(), values, strict=True):
        plain = f"{time.year}/{time.month}/{time.day} {time.hour}:{time.minute:02d}"
        text = plain if slashes else time.strftime("%Y-%m-%d %H:%M:%S")
        lines.append(",".join([text, *(repr(float(v)) for v in row)]))
    path.write_text("\n".join(lines) + "\n")
    return values


def marks_of(rows: int, step: str, continuous: bool, quarters: bool) -> np.ndarray:
    """Hourly marks by Python's calendar, one row after the other."""
    times = np.datetime64("2016-07-01T00:00") + np.arange(rows) * np.timedelta64(1, step)
    found = []
    for t in times.tolist():
        if continuous:
            days = t.timetuple().tm_yday
            found.append([t.hour / 23, t.weekday() / 6, (t.day - 1) / 30, (days - 1) / 365])
        else:
            found.append([t.month, t.day, t.weekday(), t.hour, t.minute // 15][: 4 + quarters])
    return np.array(found, float) - (0.5 if continuous else 0)


def official(values, marks, borders, lookback, label, horizon, train, scale):
    """The official loader, literally: scale by the training rows, cut, index."""
    mean, std = values[:train].mean(0), values[:train].std(0)
    scaled = (values - mean) / std if scale else values
    out = {"scaler.mean": mean, "scaler.scale": std}
    for name, (first, end) in borders.items():
        data, stamps = scaled[first:end], marks[first:end]
        count = len(data) - lookback - horizon + 1
        out[f"{name}.len"] = np.array([count])
        for where, begin in (("first", 0), ("mid", count // 2), ("last", count - 1)):
            middle = begin + lookback
            x, y = slice(begin, middle), slice(middle - label, middle + horizon)
            parts = {"x": data[x], "y": data[y], "x_mark": stamps[x], "y_mark": stamps[y]}
            for part, value in parts.items():
                out[f"{name}.{where}.{part}"] = value
                out[f"{name}.{where}.{part}.sum"] = value.sum(0)
    return out


def write_case(folder: Path, constructor: dict, out: dict) -> Path:
    path = folder / "case.json"
    header = {
        "system": "forecasting_data", "kind": "windows", "options": {}, "mode": "eval",
        "constructor": constructor, "dtype": "float64", "rtol": 1e-9, "atol": 1e-9,
    }  # fmt: skip
    path.write_text(json.dumps(header))
    tensors = {f"out/{k}": torch.from_numpy(np.ascontiguousarray(v)) for k, v in out.items()}
    save_file(tensors, path.with_suffix(".safetensors"))
    return path


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("features", ["M", "S"])
@pytest.mark.parametrize("continuous", [True, False])
def test_the_custom_loader_by_hand(tmp_path, features, continuous, dtype):
    rows, lookback, label, horizon = 907, 36, 18, 24
    values = stand_in(tmp_path / "own.csv", rows, "h", slashes=True)
    # the official code moves the target behind the other columns
    values = values[:, [1]] if features == "S" else values[:, [0, 2, 1]]
    train, test = int(rows * 0.7), int(rows * 0.2)
    borders = {
        "train": (0, train),
        "val": (train - lookback, rows - test),
        "test": (rows - test - lookback, rows),
    }
    marks = marks_of(rows, "h", continuous, quarters=False)
    out = official(values, marks, borders, lookback, label, horizon, train, scale=True)
    constructor = {
        "cls": "Dataset_Custom", "csv": "own.csv", "seq_len": lookback, "label_len": label,
        "pred_len": horizon, "features": features, "target": "OT", "scale": True,
        "timeenc": int(continuous), "freq": "h",
    }  # fmt: skip
    report = verify_case(Fixture.load(write_case(tmp_path, constructor, out), tmp_path), dtype)
    assert report.passed, report
    assert len(report.rows) == len(out)


@pytest.mark.parametrize(("name", "factor"), [("Dataset_ETT_hour", 1), ("Dataset_ETT_minute", 4)])
def test_the_ett_loaders_by_hand(tmp_path, name, factor):
    month, lookback, label, horizon = 30 * 24 * factor, 48, 24, 12
    rows = 20 * month + 60
    values = stand_in(tmp_path / "ETT.csv", rows, "h")
    borders = {
        "train": (0, 12 * month),
        "val": (12 * month - lookback, 16 * month),
        "test": (16 * month - lookback, 20 * month),
    }
    marks = marks_of(rows, "h", continuous=False, quarters=factor == 4)
    out = official(values, marks, borders, lookback, label, horizon, 12 * month, scale=False)
    constructor = {
        "cls": name, "csv": "ETT.csv", "seq_len": lookback, "label_len": label,
        "pred_len": horizon, "features": "MS", "target": "OT", "scale": False, "timeenc": 0,
    }  # fmt: skip
    report = verify_case(Fixture.load(write_case(tmp_path, constructor, out), tmp_path))
    assert report.passed, report


@pytest.mark.skipif(FILES is None, reason="SURFORM_FORECASTING_FILES does not name the real files")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_recorded_numbers_of_the_real_files(capsys, dtype):
    assert main(["verify", str(GOLDEN), "--files", str(FILES), "--dtype", dtype, "--quiet"]) == 0
    assert f"all {len(CASES)} cases within tolerance" in capsys.readouterr().out


@pytest.mark.fault
def test_the_file_is_asked_for(tmp_path, capsys):
    assert main(["verify", str(CASES[0]), "--quiet"]) == 1
    assert "needs ETTh1.csv" in capsys.readouterr().out
    assert "needs ETTh1.csv: give --files FOLDER" in verify_case(Fixture.load(CASES[0])).problem
    fixture = Fixture.load(CASES[0], tmp_path)
    assert "needs ETTh1.csv: it is not in" in verify_case(fixture).problem


@pytest.mark.fault
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("cls", "Dataset_Other", "unknown official class"), ("features", "X", "choose M, S or MS")],
)
def test_unknown_arguments(tmp_path, key, value, message):
    stand_in(tmp_path / "own.csv", 200, "h")
    constructor = {"cls": "Dataset_Custom", "csv": "own.csv", "seq_len": 8, "pred_len": 4}
    case = write_case(tmp_path, {**constructor, key: value}, {"train.len": np.array([1])})
    assert message in verify_case(Fixture.load(case, tmp_path)).problem
