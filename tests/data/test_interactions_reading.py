"""Layouts of published logs, schemas, hashing, vocabularies, files per split, encoding of rows."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from surform.data import InteractionsData, InteractionsDescription
from surform.data import interactions_vocabulary as vocabulary
from surform.data.interactions_hash import arrow_hashes, text_hashes
from surform.data.interactions_rows import encode_rows
from surform.data.interactions_survey import CategoryCounts, Moments
from surform.data.interactions_vocabulary import HashedColumn, Vocabulary
from tests.data.interaction_files import log, write

COLUMNS: dict[str, Any] = {
    "categorical": ["user_id", "city"], "multivalued": ["tags"], "dense": ["price"],
    "separator": "|",
}  # fmt: skip


def test_movielens(tmp_path: Path) -> None:
    ratings = ["userId,movieId,rating,timestamp"]
    ratings += [f"{n % 7},{1 + n % 4},{0.5 + n % 10 / 2},{964982703 + 3600 * n}" for n in range(50)]
    with gzip.open(tmp_path / "ratings.csv.gz", "wt", newline="\r\n") as file:
        file.write("\n".join(ratings))
    films = ["movieId,title,genres", "1,Toy Story (1995),Adventure|Comedy"]
    films += ['2,"2001: A Space Odyssey (1968)",(no genres listed)', "3,Untitled,Drama"]
    (tmp_path / "movies.csv").write_text("\n".join(films), encoding="utf-8")
    data = InteractionsData(str(tmp_path), layout="movielens", split_seed=2023)
    about = data.description()
    assert about.categorical == ("userId", "movieId", "year", "hour", "weekday")
    assert about.vocabularies["year"] == [1995, 1968]
    assert about.vocabularies["genres"] == ["Adventure", "Comedy", "Drama"]
    assert about.positive == {"rating": 4.0}
    numbers = data.split_rows()["train"]
    rows = data.samples("train")[list(range(len(numbers)))]
    for row, number in enumerate(numbers.tolist()):
        time = np.datetime64(964982703 + 3600 * number, "s")
        hour = int((time - time.astype("datetime64[D]")).astype(int) // 3600)
        day = (int(time.astype("datetime64[D]").astype(int)) + 3) % 7
        found = rows.categorical[row].tolist()
        assert rows.labels[row] == (0.5 + number % 10 / 2 >= 4)
        assert about.vocabularies["hour"][found[3] - 1] == hour
        assert about.vocabularies["weekday"][found[4] - 1] == day
        assert rows.lengths[row] == {1: 2, 2: 0, 3: 1, 4: 0}[1 + number % 4]


def test_criteo_with_and_without_the_last_empty_fields(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = []
    for number in range(60):
        counts = [str(n) if n % 5 else "" for n in random.integers(-1, 50, 13)]
        categories = [f"{n:08x}" for n in random.integers(0, 9, 25)]
        last = [] if number % 3 == 1 else ["0000000a"]
        lines.append("\t".join([str(number % 2), *counts, *categories, *last]))
    path = tmp_path / "day.txt"
    path.write_text("\n".join(lines) + "\n")
    data = InteractionsData(str(path), layout="criteo")
    about = data.description()
    assert (len(about.dense), len(about.categorical)) == (13, 26)
    assert about.vocabularies["C26"] == ["0000000a"]
    assert set(about.vocabularies["C1"]) <= {f"{n:08x}" for n in range(9)}
    rows, numbers = data.samples("train")[list(range(48))], data.split_rows()["train"]
    assert rows.categorical[:, 25].tolist() == [int(n % 3 != 1) for n in numbers]
    assert set(about.fills) == set(about.dense)
    assert bool(torch.isfinite(rows.dense).all())
    named = tmp_path / "named.csv"
    names = ["label", *(f"I{n}" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27))]
    named.write_text("\n".join([",".join(names), *(x.replace("\t", ",") for x in lines[::3])]))
    assert len(InteractionsData(str(named), layout="criteo").split_rows()["train"]) == 16


def test_avazu(tmp_path: Path) -> None:
    texts = ["site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category",
             "device_id", "device_ip", "device_model"]  # fmt: skip
    whole = [
        "C1",
        "banner_pos",
        "device_type",
        "device_conn_type",
        *(f"C{n}" for n in range(14, 22)),
    ]
    columns: dict[str, Any] = {"id": [str(10**19 + n) for n in range(48)], "click": [0, 1] * 24}
    columns["hour"] = [14102100 + n for n in range(24)] + [14102200 + n for n in range(24)]
    columns |= {name: [f"{n % 5:08d}" for n in range(48)] for name in texts}
    columns |= {name: [n % 3 for n in range(48)] for name in whole}
    data = InteractionsData(write(tmp_path / "train.csv", columns), layout="avazu", split_by="time")
    about = data.description()
    assert sorted(about.vocabularies["site_id"]) == [f"{n:08d}" for n in range(5)]
    assert sorted(about.vocabularies["hour_of_day"]) == list(range(24))
    assert sorted(about.vocabularies["weekday"]) == [1, 2]  # 21 October 2014 was a Tuesday
    assert data.split_rows()["train"].tolist() == list(range(38))


@pytest.mark.parametrize("suffix", ["yaml", "json", ""])
def test_a_schema_says_what_columns_are(suffix: str, tmp_path: Path) -> None:
    schema = {
        "click": "label",
        "user_id": {"role": "category", "group": True, "min_count": 9, "type": "text"},
        "city": {"role": "category", "hashed": 7},
        "tags": "categories",
        "price": {"role": "number", "transform": "log", "missing": -1},
        "timestamp": "time",
    }
    path = tmp_path / f"schema.{suffix}"
    path.write_text(json.dumps(schema))
    data = InteractionsData(
        pa.table(log()), schema=str(path) if suffix else schema, split_by="last"
    )
    about = data.description()
    assert about.group == "user_id"
    assert about.hashed == {"city": 7}
    assert about.transforms == {"price": "log"}
    assert about.fills["price"] == pytest.approx(-np.log(2))
    assert 0 < len(about.vocabularies["user_id"]) < 20
    assert all(isinstance(user, str) for user in about.vocabularies["user_id"])
    assert about.rows("city") == 8
    again = InteractionsDescription.from_dict(json.loads(json.dumps(about.to_dict())))
    assert again == about


def test_files_of_each_split(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        write(tmp_path / f"{split}.csv", log(30 + number, number))
    path = {split: str(tmp_path / f"{split}.csv") for split in ("train", "validation", "test")}
    data = InteractionsData(path, **COLUMNS)
    assert {name: len(own) for name, own in data.split_rows().items()} == {
        "train": 30, "validation": 31, "test": 32,
    }  # fmt: skip
    alone = InteractionsData(path["train"], **COLUMNS, split={"train": 1.0}).description()
    assert data.description().vocabularies == alone.vocabularies
    test = InteractionsData({"test": path["test"]}, vocabularies=data.description())
    assert len(next(iter(test.test_dataloader()))) == 32


def test_splits_by_date() -> None:
    columns = log(100)
    times = np.datetime64("2024-01-01", "s") + 3600 * np.arange(100)
    table = pa.table(columns | {"timestamp": times})
    split = {"train": "2024-01-03", "validation": "2024-01-04", "test": "2024-01-05T01:00"}
    rows = InteractionsData(table, **COLUMNS, split=split, split_by="time").split_rows()
    assert rows["train"].tolist() == list(range(48))
    assert rows["validation"].tolist() == list(range(48, 72))
    assert rows["test"].tolist() == list(range(72, 97))


def test_dates_may_name_their_zone() -> None:
    times = np.datetime64("2024-01-01", "s") + 3600 * np.arange(100)
    table = pa.table(log(100) | {"timestamp": pa.array(times, pa.timestamp("s", "Asia/Tokyo"))})
    for split in ("2024-01-03", "2024-01-03T00:00Z", "2024-01-03T09:00+09:00"):
        given = {"train": split, "test": "2024-02"}
        rows = InteractionsData(table, **COLUMNS, split=given, split_by="time").split_rows()
        assert rows["train"].tolist() == list(range(48))
        assert rows["test"].tolist() == list(range(48, 100))


def test_rows_without_a_group_train_and_are_no_list() -> None:
    columns = log(100)
    columns["user_id"] = [None if n % 4 == 0 else u for n, u in enumerate(columns["user_id"])]
    data = InteractionsData(
        pa.table(columns), **COLUMNS, time="timestamp", group="user_id", split_by="last"
    )
    rows = data.split_rows()
    assert set(range(0, 100, 4)) <= set(rows["train"].tolist())
    samples = data.samples("train")[list(range(len(rows["train"])))]
    assert torch.equal(samples.group < 0, torch.from_numpy(rows["train"] % 4 == 0))
    asked = encode_rows(data.description(), {n: v[:8] for n, v in columns.items()})
    assert (asked.group < 0).tolist() == [True, False, False, False] * 2
    assert torch.equal(encode_rows(data.description(), pa.table(columns)).group[:8], asked.group)


def test_rows_with_long_lists_stay_in_their_files(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("surform.data.interactions_module._MEMORY_LIMIT", 50_000)
    long = log(200) | {"tags": [["war"] * 100] * 200}
    for columns, streams in ((log(200), False), (long, True)):
        data = InteractionsData(write(tmp_path / "log.parquet", columns), **COLUMNS)
        assert data.streams == streams


def test_hashes_are_those_of_the_published_function() -> None:
    def literal(text: str) -> int:
        found = 0xCBF29CE484222325
        for byte in text.encode():
            found = (found ^ byte) * 0x100000001B3 % 2**64
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            found = (found ^ found >> 33) * factor % 2**64
        return found ^ found >> 33

    texts = ["", "a", "wien", "05db9164", "Zürich", "x" * 300]
    assert text_hashes(texts).tolist() == [literal(text) for text in texts]
    assert arrow_hashes(pa.array(["?", *texts])[1:]).tolist() == [literal(text) for text in texts]


def test_hashed_columns_are_alike_in_every_process_and_type() -> None:
    column = HashedColumn(1000)
    program = "from surform.data.interactions_vocabulary import HashedColumn as H\n"
    program += "print(H(1000).of_values(['wien', 7, None]).tolist())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert json.loads(done.stdout) == column.of_values(["wien", "7", float("nan")]).tolist()
    ids = column.of_values([str(n) for n in range(20_000)])
    counts = np.bincount(ids, minlength=1001)
    assert counts[0] == 0
    assert counts[1:].min() > 0
    # as even as chance: 20 each, with a deviation of sqrt(20)
    assert counts[1:].std() == pytest.approx(np.sqrt(20), rel=0.1)


@pytest.mark.parametrize("name", ["city", "user_id", "tags"])
def test_rows_to_score_are_hashed_as_training_rows_were(name: str) -> None:
    columns = log()
    data = InteractionsData(pa.table(columns), **COLUMNS, hashed={name: 50})
    assert name not in data.description().vocabularies
    train = data.samples("train")[list(range(160))]
    chosen = {k: [v[n] for n in data.split_rows()["train"]] for k, v in columns.items()}
    asked = encode_rows(data.description(), chosen)
    assert torch.equal(asked.categorical, train.categorical)
    assert torch.equal(asked.values, train.values)


def test_vocabularies_whose_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "arrow_hashes", lambda texts: arrow_hashes(texts) % 7)
    known = Vocabulary([f"c{n}" for n in range(40)])
    asked = pa.array([f"c{n}" for n in (3, 39, 77, 0)])
    assert known.of_arrow(asked).tolist() == [4, 40, 0, 1]
    few = Vocabulary(["a"])  # no two collide, but unknown ones do with the only one
    assert few.of_arrow(pa.array(["a", *"bcdefghijklmnop"])).tolist() == [1] + [0] * 15


def test_arrow_tables_encode_as_values_do() -> None:
    columns = log() | {"price": [None if n == 3 else 2.0 * n for n in range(200)]}
    data = InteractionsData(pa.table(columns), **COLUMNS, missing="mean", group="user_id")
    one = encode_rows(data.description(), columns)
    other = encode_rows(data.description(), pa.table(columns))
    for name in ("categorical", "dense", "labels", "values", "lengths", "group", "index"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    unlabelled = encode_rows(data.description(), pa.table(columns).drop_columns(["click"]))
    assert unlabelled.labels.shape == (200, 0)


def test_groups_have_one_number_in_every_table() -> None:
    first = InteractionsData(pa.table(log()), **COLUMNS, group="user_id")
    other = InteractionsData(pa.table(log(seed=1)), **COLUMNS, group="user_id")
    known: dict[int, int] = {}
    for data, seed in ((first, 0), (other, 1)):
        users = np.array(log(seed=seed)["user_id"])[data.split_rows()["train"]]
        groups = data.samples("train")[list(range(160))].group
        for user, group in zip(users.tolist(), groups.tolist(), strict=True):
            assert known.setdefault(user, group) == group
    assert len(set(known.values())) == len(known) == 20


def test_counts_are_added_up_over_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surform.data.interactions_survey._PENDING", 10)
    random, counts = np.random.default_rng(0), CategoryCounts("city")
    drawn = random.integers(0, 30, (20, 50))
    for row in drawn:
        found, codes = np.unique(row, return_inverse=True)
        counts.add(pa.array(found), codes)
    values, times = np.unique(drawn, return_counts=True)
    order = np.lexsort((values, -times))
    expected = [int(values[n]) for n in order if times[n] >= 30]
    assert counts.vocabulary(30) == expected
    monkeypatch.setattr("surform.data.interactions_survey._MOST", 20)
    with pytest.raises(ValueError, match="column 'city' has more than 20 categories: hash it"):
        counts.add(pa.array(range(100, 200)), np.arange(100))


def test_moments_of_parts_are_those_of_the_whole() -> None:
    values = 1e6 + np.random.default_rng(0).standard_normal(1000)
    values[::10] = np.nan
    moments = Moments()
    for part in np.split(values, [1, 2, 500]):
        moments.add(part)
    assert (moments.count, moments.missing) == (900, 100)
    assert moments.mean == pytest.approx(np.nanmean(values), rel=1e-12)
    assert moments.std == pytest.approx(np.nanstd(values), rel=1e-9)


def test_row_groups_of_any_size_give_the_same_rows(tmp_path: Path, monkeypatch: Any) -> None:
    columns = log(300)
    small = InteractionsData(write(tmp_path / "a.parquet", columns, group=30), **COLUMNS)
    monkeypatch.setattr("surform.data.interactions_parquet._SMALL", 50)
    large = InteractionsData(write(tmp_path / "b.parquet", columns, group=300), **COLUMNS)
    one, other = (data.samples("train")[list(range(240))] for data in (small, large))
    assert torch.equal(one.categorical, other.categorical)
    assert torch.equal(one.values, other.values)
    assert small.description().vocabularies == large.description().vocabularies


def test_frames_of_pandas_with_missing_values_are_scored_as_none() -> None:
    columns = log(60)
    about = InteractionsData(pa.table(columns), **COLUMNS, missing="mean").description()
    for name, kind in (
        ("user_id", "Int64"), ("city", "string"), ("city", "category"), ("price", "Float64"),
        ("user_id", float), ("price", float), ("city", object),
    ):  # fmt: skip
        frame = pd.DataFrame(columns)
        frame[name] = frame[name].astype(kind).where(frame.index % 3 > 0)
        lacking = [None if n % 3 == 0 else value for n, value in enumerate(columns[name])]
        found, expected = (encode_rows(about, r) for r in (frame, columns | {name: lacking}))
        for part in ("categorical", "dense", "values", "labels"):
            assert torch.equal(getattr(found, part), getattr(expected, part)), (name, kind, part)


def test_labels_are_not_looked_at_where_nobody_asks() -> None:
    about = InteractionsData(pa.table(log(60)), **COLUMNS).description()
    strange = log(60) | {"click": ["yes"] * 60}
    for rows in (strange, pd.DataFrame(strange), pa.table(strange)):
        assert encode_rows(about, rows, labelled=False).labels.shape == (60, 0)
    with pytest.raises(ValueError, match="row 0 has the label 'yes' in click, but labels are 0"):
        encode_rows(about, strange)


def test_without_frequent_categories_all_are_unknown() -> None:
    about = InteractionsData(pa.table(log(60)), **COLUMNS, min_count=1000).description()
    for rows in (log(60), pa.table(log(60))):
        assert not encode_rows(about, rows).categorical.any()
