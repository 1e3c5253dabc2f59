"""Tables of interactions: columns, vocabularies, numbers, batches; alike from every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from surform.data import InteractionsData, InteractionsDescription
from surform.data.interactions_rows import encode_rows
from tests.data.interaction_files import log, write

COLUMNS: dict[str, Any] = {
    "categorical": ["user_id", "city"], "multivalued": ["tags"], "dense": ["price"],
    "separator": "|",
}  # fmt: skip


def rows_of(data: InteractionsData, split: str) -> Any:
    samples = data.samples(split)
    return samples[list(range(len(samples)))]


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.parquet", "pandas", "polars", "arrow"])
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    columns = log()
    frames = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}
    source = frames[name](columns) if name in frames else write(tmp_path / name, columns)
    data = InteractionsData(source, **COLUMNS)
    train = rows_of(data, "train")
    numbers = data.split_rows()["train"]
    chosen = {key: [values[n] for n in numbers] for key, values in columns.items()}
    expected = encode_rows(data.description(), chosen)
    assert torch.equal(train.categorical, expected.categorical)
    assert torch.equal(train.values, expected.values)
    assert torch.equal(train.lengths, expected.lengths)
    assert torch.equal(train.dense, expected.dense)
    assert torch.equal(train.labels, expected.labels)
    assert len(train) == 160


def test_vocabularies_hold_the_training_rows_categories_by_frequency(tmp_path: Path) -> None:
    columns = log()
    data = InteractionsData(write(tmp_path / "log.csv", columns), **COLUMNS, min_count=9)
    numbers = data.split_rows()["train"]
    found, counts = np.unique(np.array(columns["user_id"])[numbers], return_counts=True)
    order = np.lexsort((found, -counts))
    kept = [int(found[n]) for n in order if counts[n] >= 9]
    assert data.description().vocabularies["user_id"] == kept
    assert 0 < len(kept) < 20
    rare = ~np.isin(np.array(columns["user_id"])[numbers], kept)
    assert np.array_equal(rows_of(data, "train").categorical[:, 0].numpy() == 0, rare)


def test_numbers_are_standardised_by_the_training_rows(tmp_path: Path) -> None:
    columns = log()
    data = InteractionsData(write(tmp_path / "log.csv", columns), **COLUMNS, transforms="log")
    (normalizer,) = data.normalizers()
    prices = np.log1p(np.array(columns["price"]))[data.split_rows()["train"]]
    assert normalizer.mean.numpy() == pytest.approx([prices.mean()], rel=1e-6)
    assert normalizer.std.numpy() == pytest.approx([prices.std()], rel=1e-6)
    assert rows_of(data, "train").dense[:, 0].numpy() == pytest.approx(prices, rel=1e-6)
    without = InteractionsData(data.path, categorical=["city"])
    assert without.normalizers() == ()


@pytest.mark.parametrize(("missing", "stands"), [("mean", None), (-1.0, np.log(2) * -1)])
def test_missing_numbers(missing: Any, stands: float | None, tmp_path: Path) -> None:
    columns = log()
    columns["price"] = [None if n % 5 == 0 else value for n, value in enumerate(columns["price"])]
    path = write(tmp_path / "log.csv", columns)
    data = InteractionsData(path, **COLUMNS, transforms="log", missing=missing)
    about = data.description()
    if stands is None:
        there = [n for n in data.split_rows()["train"] if n % 5]
        stands = float(np.log1p([columns["price"][n] for n in there]).mean())
    assert about.fills["price"] == pytest.approx(stands)
    train = data.split_rows()["train"]
    gone = rows_of(data, "train").dense[train % 5 == 0]
    assert torch.allclose(gone, torch.tensor(stands, dtype=torch.float32))


def test_ratings_become_labels(tmp_path: Path) -> None:
    columns = log()
    columns["stars"] = [1 + n % 5 for n in range(200)]
    path = write(tmp_path / "log.csv", columns)
    data = InteractionsData(path, **COLUMNS, labels=["click", "stars"], positive={"stars": 4})
    train = data.split_rows()["train"]
    assert rows_of(data, "train").labels[:, 1].tolist() == [float(n % 5 >= 3) for n in train]


def test_columns_are_judged_by_their_types(tmp_path: Path) -> None:
    columns = log(300)
    columns["visits"] = list(range(300))
    data = InteractionsData(write(tmp_path / "log.parquet", columns))
    about = data.description()
    assert about.labels == ("click",)
    assert about.categorical == ("user_id", "city")
    assert about.multivalued == ("tags",)
    assert about.dense == ("price", "visits")
    assert about.source["inferred categorical"] == "user_id, city"
    assert about.source["inferred time"] == "timestamp"


@pytest.mark.parametrize("by", ["random", "time", "last"])
def test_splits_hold_every_row_once(by: Any, tmp_path: Path) -> None:
    columns = log()
    data = InteractionsData(
        write(tmp_path / "log.csv", columns), **COLUMNS, split_by=by, split_seed=7,
        time="timestamp", group="user_id",
    )  # fmt: skip
    rows = data.split_rows()
    assert sorted(np.concatenate(list(rows.values()))) == list(range(200))
    if by == "random":
        order = np.random.RandomState(7).permutation(200)
        assert np.array_equal(rows["train"], np.sort(order[:160]))
        assert np.array_equal(rows["test"], np.sort(order[180:]))
    elif by == "time":
        assert rows["train"].tolist() == list(range(160))
        assert rows["validation"].tolist() == list(range(160, 180))
    else:
        users = np.array(columns["user_id"])
        last = {user: np.flatnonzero(users == user) for user in np.unique(users)}
        assert rows["test"].tolist() == sorted(own[-1] for own in last.values())
        assert rows["validation"].tolist() == sorted(own[-2] for own in last.values())


def test_another_table_is_read_with_the_vocabularies_of_a_model(tmp_path: Path) -> None:
    trained = InteractionsData(write(tmp_path / "a.csv", log()), **COLUMNS).description()
    other = log(seed=1) | {"city": ["oslo", "wien"] * 100}
    path = write(tmp_path / "b.csv", other)
    data = InteractionsData(path)
    with pytest.raises(ValueError, match="the model was trained with"):
        data.check(trained)
    data.read_as(InteractionsDescription.from_dict(trained.to_dict()))
    data.check(trained)
    train = rows_of(data, "train")
    wien = trained.vocabularies["city"].index("wien") + 1
    assert train.categorical[:, 1].tolist() == [wien * (n % 2) for n in data.split_rows()["train"]]


def test_an_epoch_has_every_row_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", log())
    data = InteractionsData(path, **COLUMNS, batch_size=32, drop_last=False)
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        epochs.append(torch.cat([batch.index for batch in loader]))
    assert sorted(epochs[0].tolist()) == list(range(160))
    assert not torch.equal(epochs[0], epochs[1])
    again = InteractionsData(path, **COLUMNS, batch_size=32, drop_last=False)
    again.resume_at(1, 2)
    assert torch.equal(torch.cat([b.index for b in again.train_dataloader()]), epochs[1][64:])
