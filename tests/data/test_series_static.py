"""Static covariates of text: one column per category, the same in every table of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surform.data.series_module import SeriesData
from tests.data.series_files import long_rows, write


def shops(folder: Path, **regions: str) -> str:
    """One series per shop, with its region and its size."""
    table = long_rows(dict.fromkeys(regions, 90), static=True)
    table[0].append("region")
    for row in table[1:]:
        row.append(regions[row[0]])
    return write(folder / "shops.csv", table)


def opened(path: str, **options: Any) -> SeriesData:
    options = {"id": "id", "variates": ["value"], "static": ["size", "region"]} | options
    return SeriesData(path, 8, 4, **options)


def test_a_column_of_text_becomes_one_column_per_category(tmp_path: Path) -> None:
    data = opened(shops(tmp_path, a="south", b="north", c="south"))
    about = data.description()
    assert about.static == ("size", "region=north", "region=south")
    np.testing.assert_array_equal(data.table.static, [[1, 0, 1], [2, 1, 0], [3, 0, 1]])
    windows = data.windows("train")
    batch = windows[range(len(windows))]
    assert batch.static is not None
    assert batch.static.unique(dim=0).tolist() == [[1, 0, 1], [2, 1, 0], [3, 0, 1]]
    assert about.sizes()["static"] == about.static


def test_categories_may_be_named_one_by_one_and_in_frames(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = shops(tmp_path, a="south", b="north")
    names = ["region=south", "region=north", "region=east"]
    for source in (
        path,
        pandas.read_csv(path),
        pandas.read_csv(path).astype({"region": "category"}),
    ):
        found = opened(source, static=names)
        assert found.description().static == tuple(names)
        np.testing.assert_array_equal(found.table.static, [[1, 0, 0], [0, 1, 0]])


def test_names_and_categories_may_hold_the_mark_between_them(tmp_path: Path) -> None:
    path = shops(tmp_path, a="x=1", b="x=2")
    text = Path(path).read_text().replace("region", "a=b", 1)
    Path(path).write_text(text)
    names = opened(path, static=["a=b"]).description().static
    assert names == ("a=b=x=1", "a=b=x=2")
    found = opened(path, static=list(names))  # as a model asks for them
    np.testing.assert_array_equal(found.table.static, [[1, 0], [0, 1]])


@pytest.mark.fault
def test_categories_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = shops(tmp_path, a="south", b="north")
    for options, message in (
        ({"static": ["region=south"]}, "region of series 'b' is 'north', which is none of the cat"),
        ({"static": ["place"]}, "has no static covariate 'place'"),
        ({"static": ["size=1"]}, "has no static covariate 'size=1'"),
        ({"static": ["region", "region"]}, "static names a column twice"),
        ({"static": ["id"]}, "'id' of .* cannot be both id and static"),
        ({"variates": ["region"]}, "holds text, not numbers|cannot be both"),
    ):
        with pytest.raises(ValueError, match=message):
            _ = opened(path, **options).table
    lines = Path(path).read_text().splitlines()
    for change, message in (
        ("west", "line 11: the static covariate 'region' of series 'a' is 'west', but 'south'"),
        ("", "line 11: the static covariate 'region' is missing"),
    ):
        other = [*lines]
        other[10] = other[10].rpartition(",")[0] + f",{change}"
        (tmp_path / "other.csv").write_text("\n".join(other) + "\n")
        with pytest.raises(ValueError, match=message):
            _ = opened(str(tmp_path / "other.csv")).table
    many = shops(tmp_path, **{f"s{i}": f"r{i}" for i in range(101)})
    with pytest.raises(ValueError, match="has 101 categories: as a static covariate it may have"):
        _ = opened(many).table
