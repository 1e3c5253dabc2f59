"""Windows of the published forecasting loaders: thuml/iTransformer@c2426e68ca13 (data_provider).

There is no model here: a case records the windows that the official code makes of a public file,
and its replay makes them with `SeriesData`. The file itself is not part of the fixture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surform.data.series_module import SeriesData
from surform.data.series_sources import open_table
from surform.hub.official.fixture import Fixture, Replay, System

__all__ = ["SYSTEM"]

Arguments = dict[str, Any]
State = dict[str, Tensor]

_DEFAULTS: Arguments = {
    "cls": "Dataset_Custom",
    "seq_len": 384,
    "label_len": 96,
    "pred_len": 96,
    "features": "S",
    "target": "OT",
    "scale": True,
    "timeenc": 0,
}
# Official class -> its split, its default frequency, which also fixes its integer marks, and file.
_CLASSES = {
    "Dataset_ETT_hour": ("etth", "h", "ETTh1.csv"),
    "Dataset_ETT_minute": ("ettm", "t", "ETTm1.csv"),
    "Dataset_Custom": ("ratio", "h", "ETTh1.csv"),
}
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _windows(fixture: Fixture, dtype: torch.dtype) -> Replay:
    given = _DEFAULTS | fixture.constructor
    if given["cls"] not in _CLASSES:
        raise ValueError(f"unknown official class {given['cls']!r}: choose {', '.join(_CLASSES)}")
    data = _data(given, _file(fixture, given), dtype)
    variates, *_ = data.normalizers()
    found: State = {"scaler.mean": variates.mean, "scaler.scale": variates.std}
    for official, split in _SPLITS.items():
        windows = data.windows(split)
        count = len(windows)
        found[f"{official}.len"] = torch.tensor([count])
        for name, place in (("first", 0), ("mid", count // 2), ("last", count - 1)):
            for part, value in _window(windows[[place]], given, variates).items():
                found[f"{official}.{name}.{part}"] = value
                found[f"{official}.{name}.{part}.sum"] = value.sum(0)
    return Replay(outputs=found, inputs={}, model=nn.Module())


def _window(batch: Any, given: Arguments, variates: Any) -> State:
    """x, y and their marks; y begins `label_len` steps before the end of x."""
    label = given["label_len"]
    scale = variates.normalize if given["scale"] else lambda values: values
    rows = {"": (batch.history, batch.targets), "_mark": (batch.past_marks, batch.future_marks)}
    found = {}
    for end, (past, future) in rows.items():
        past, future = past[0], future[0]
        if not end:
            past, future = scale(past), scale(future)
        found[f"x{end}"] = past
        found[f"y{end}"] = torch.cat((past[len(past) - label :], future))
    return found


def _data(given: Arguments, path: Path, dtype: torch.dtype) -> SeriesData:
    split, frequency, _ = _CLASSES[given["cls"]]
    continuous = bool(given["timeenc"])
    return SeriesData(
        str(path),
        given["seq_len"],
        given["pred_len"],
        split=split,
        time="date",
        step="",  # the official code does not look whether rows follow each other
        variates=_variates(given, path, target_last=given["cls"] == "Dataset_Custom"),
        marks="continuous" if continuous else "integer",
        marks_step=given.get("freq", frequency) if continuous else frequency,
        dtype=str(dtype).removeprefix("torch."),  # type: ignore[arg-type]
    )


def _variates(given: Arguments, path: Path, *, target_last: bool) -> list[str]:
    features, target = given["features"], given["target"]
    if features == "S":
        return [target]
    if features not in ("M", "MS"):
        raise ValueError(f"features {features!r}: choose M, S or MS")
    columns = [name for name in open_table(str(path)).kinds() if name != "date"]
    if not target_last:
        return columns
    return [*(name for name in columns if name != target), target]


def _file(fixture: Fixture, given: Arguments) -> Path:
    name = given.get("csv", _CLASSES[given["cls"]][2])
    if fixture.files is None:
        raise ValueError(f"{fixture.path.stem} needs {name}: give --files FOLDER")
    path = Path(fixture.files, name)
    if not path.is_file():
        raise ValueError(f"{fixture.path.stem} needs {name}: it is not in {fixture.files}")
    return path


def _no_model(*_: Any, **__: Any) -> Any:
    raise ValueError("forecasting_data describes data, there is no model to convert")


SYSTEM = System(
    name="forecasting_data",
    kinds={"windows": _windows},
    arguments=_no_model,
    to_ours=_no_model,
    to_official=_no_model,
    surrogate="series",
    modes=("eval", "train", "n/a"),
)
