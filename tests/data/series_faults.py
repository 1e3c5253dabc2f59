"""Tables of series with something wrong in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surform.data.series_module import SeriesData
from tests.data.series_files import hourly_rows, write

Change = Callable[[list[list[str]]], object]


def prepare(source: Any, **options: Any) -> SeriesData:
    data = SeriesData(source, **{"lookback": 12, "horizon": 6, **options})
    data.setup("fit")
    data.normalizers()
    return data


def refused(message: str, act: Callable[[], object], error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=message) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    assert len(re.sub(r"\S*/", "", text)) < 300  # the folders of a test run do not count


def altered(folder: Path, change: Change, rows: int = 200) -> str:
    """A good table after `change`; row r of the data stands in line r + 2."""
    table = hourly_rows(rows)
    change(table)
    return write(folder / "bad.csv", table)
