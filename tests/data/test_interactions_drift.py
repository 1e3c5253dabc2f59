"""Logs whose files differ: empty ones, columns without values, types of several kinds, frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from surform.data import InteractionsData
from tests.data.interaction_files import log, write

COLUMNS: dict[str, Any] = {
    "categorical": ["user_id", "city"], "multivalued": ["tags"], "dense": ["price"],
    "separator": "|",
}  # fmt: skip


def whole(source: Any, **options: Any) -> Any:
    """All rows in their order, encoded."""
    data = InteractionsData(source, **COLUMNS | {"split": {"train": 1.0}} | options)
    batches = list(data.in_order("train", 1000))
    return data.description(), batches[0] if len(batches) == 1 else batches


def same(one: Any, other: Any) -> None:
    for name in ("categorical", "dense", "labels", "values", "lengths"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("cache", ["memory", "files"])
def test_files_without_rows_are_left_out(tmp_path: Path, suffix: str, cache: str) -> None:
    parts = [log(0), log(60), log(0), log(40, 1), log(0)]
    for number, part in enumerate(parts):
        write(tmp_path / f"{number}.{suffix}", part)
    about, found = whole(str(tmp_path / f"*.{suffix}"), cache=cache)
    together = {name: [*parts[1][name], *parts[3][name]] for name in parts[1]}
    expected_about, expected = whole(pa.table(together))
    same(found, expected)
    assert about.vocabularies == expected_about.vocabularies


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("name", ["user_id", "city", "tags", "price"])
def test_a_column_without_values_in_one_file(
    tmp_path: Path, suffix: str, order: list[int], name: str
) -> None:
    lacking = log(40, 1) | {name: [None] * 40}
    files = (write(tmp_path / f"0.{suffix}", lacking), write(tmp_path / f"1.{suffix}", log(60)))
    about, found = whole([files[n] for n in order], missing="mean")
    own = slice(0, 40) if order[0] == 0 else slice(60, 100)
    _, alone = whole(files[1], missing="mean")
    if name == "price":
        assert torch.allclose(found.dense[own], torch.tensor(about.fills["price"]).float())
    elif name == "tags":
        assert not found.lengths[own].any()
    else:
        assert not found.categorical[own, COLUMNS["categorical"].index(name)].any()
    other = slice(40, 100) if order[0] == 0 else slice(0, 60)
    assert torch.equal(found.labels[other], alone.labels)


def test_categories_are_alike_in_every_type_that_holds_them() -> None:
    columns = log(50)
    users, cities = pa.array(columns["user_id"]), pa.array(columns["city"])
    expected = whole(pa.table(columns))[1]
    for name, column in (
        ("user_id", users.cast(pa.uint16())),
        ("user_id", users.cast(pa.float64())),
        ("user_id", users.cast(pa.float64()).dictionary_encode()),
        ("user_id", users.dictionary_encode()),
        ("city", cities.cast(pa.string_view())),
        ("city", cities.cast(pa.large_binary())),
        ("city", cities.cast(pa.large_string()).dictionary_encode()),
        ("tags", pa.array(["|".join(tags) for tags in columns["tags"]]).cast(pa.string_view())),
        ("tags", pa.array(columns["tags"], pa.large_list(pa.large_string()))),
    ):
        same(whole(pa.table(columns | {name: column}))[1], expected)
    missing = pa.array([np.nan, *users.to_pylist()[1:]], pa.float64()).dictionary_encode()
    assert whole(pa.table(columns | {"user_id": missing}))[1].categorical[0, 0] == 0


def test_ids_beyond_63_bits_are_read_as_text() -> None:
    users = [2**64 - 1 - n for n in range(50)]
    table = pa.table(log(50) | {"user_id": pa.array(users, pa.uint64())})
    schema = {"click": "label", "user_id": {"role": "category", "type": "text"}}
    data = InteractionsData(table, schema=schema, split={"train": 1.0})
    assert sorted(data.description().vocabularies["user_id"]) == sorted(map(str, users))
    hashed = InteractionsData(table, categorical=["user_id"], hashed={"user_id": 10**6})
    assert len(hashed.samples("train")[list(range(40))].categorical.unique()) == 40


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([3, 5], pa.int32()), pa.array([3.5, 4.0])),
        (
            pa.array([3, 5], pa.timestamp("ms")),
            pa.array([3_500_000, 4_000_000], pa.timestamp("ns")),
        ),
        (pa.array([3, 5], pa.timestamp("ms", "UTC")), pa.array([3500, 4000], pa.timestamp("us"))),
        (pa.array([3, 5], pa.date32()), pa.array([302400, 345600], pa.timestamp("s", "UTC"))),
    ],
)
def test_times_of_several_types_order_the_rows_of_all_files(
    tmp_path: Path, first: Any, second: Any
) -> None:
    files = [
        write(tmp_path / f"{n}.parquet", log(4, n) | {"click": [0, 0, 1, 1], "timestamp": times})
        for n, times in enumerate((pa.concat_arrays([first] * 2), pa.concat_arrays([second] * 2)))
    ]
    data = InteractionsData(
        files, **COLUMNS, time="timestamp", split_by="time", split={"train": 4, "test": 4}
    )
    # 3, 3, 3.5, 3.5 before 4, 4, 5, 5
    assert data.split_rows()["train"].tolist() == [0, 2, 4, 6]


def test_groups_of_several_types_are_the_same_groups(tmp_path: Path) -> None:
    kinds = (pa.nulls(30), pa.int32(), pa.float64(), pa.int64())
    files = []
    for n, kind in enumerate(kinds):
        columns = log(30, n, first=100 * n)
        users = kind if n == 0 else pa.array(columns["user_id"]).cast(kind)
        files.append(write(tmp_path / f"{n}.parquet", columns | {"user_id": users}))
    data = InteractionsData(files, **COLUMNS, time="timestamp", group="user_id", split_by="last")
    users = np.array([-1] * 30 + [u for n in (1, 2, 3) for u in log(30, n)["user_id"]])
    last = [np.flatnonzero(users == user)[-2:] for user in set(users.tolist()) - {-1}]
    expected = {int(own[-1]) for own in last if len(own) == 2}
    assert set(data.split_rows()["test"].tolist()) == expected


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.table])
def test_frames_of_each_split(frame: Any) -> None:
    parts = {"train": log(50), "validation": log(30, 1), "test": log(20, 2)}
    data = InteractionsData({name: frame(part) for name, part in parts.items()}, **COLUMNS)
    assert {name: len(own) for name, own in data.split_rows().items()} == {
        "train": 50, "validation": 30, "test": 20,
    }  # fmt: skip
    labels = next(iter(data.test_dataloader())).labels[:, 0].tolist()
    assert labels == parts["test"]["click"]


def test_a_record_batch_is_a_table() -> None:
    batch = pa.table(log(50)).to_batches()[0]
    same(whole(batch)[1], whole(pa.table(log(50)))[1])
