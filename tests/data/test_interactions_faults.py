"""Tables of interactions that are wrong: one sentence each, before training starts."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from surform.data import InteractionsData
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_rows import encode_rows
from surform.data.interactions_schema import read_schema
from tests.data.interaction_files import log, write

pytestmark = pytest.mark.fault

COLUMNS: dict[str, Any] = {
    "categorical": ["user_id", "city"], "multivalued": ["tags"], "dense": ["price"],
    "separator": "|",
}  # fmt: skip


def changed(name: str, row: int, value: Any) -> dict[str, Any]:
    columns = log(50)
    columns[name] = [value if n == row else v for n, v in enumerate(columns[name])]
    return columns


def without(*names: str) -> dict[str, Any]:
    return {name: values for name, values in log(50).items() if name not in names}


CONTENT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "label of 2": (changed("click", 7, 2), {}, "row 7 has the label 2 in column 'click'"),
    "NaN": (changed("price", 9, float("nan")), {}, "row 9 has no number in column 'price'"),
    "infinite": (changed("price", 9, float("inf")), {}, "row 9 has inf in column 'price'"),
    "constant number": (
        log(50) | {"price": [3.5] * 50}, {}, "'price' is 3.5 in all training rows",
    ),
    "no number": (
        log(50) | {"price": pa.nulls(50, pa.float64())}, {"missing": "mean"},
        "'price' has no number in any training row",
    ),
    "no label known": (
        log(50) | {"click": pa.nulls(50, pa.float64())}, {},
        "label 'click' is known of no training row",
    ),
    "missing label": (without("click"), {}, "has no column called label, click, clicked or target"),
    "misspelt label": (log(50), {"labels": ["clck"]}, r"no column 'clck' \(labels\): did you mean"),
    "misspelt column": (log(50), {"dense": ["prize"]}, "'prize' .dense.: did you mean 'price'"),
    "text in numbers": (
        log(50) | {"price": ["dear"] * 50}, {}, "'price' of .* holds text, but dense must hold",
    ),
    "text as label": (
        log(50) | {"click": ["yes"] * 50}, {}, "'click' of .* holds text, but labels must hold",
    ),
    "fractions as categories": (
        log(50), {"categorical": ["price"], "dense": []}, "holds numbers that are no categories",
    ),
    "times as categories": (
        log(50) | {"city": pa.array(range(50), pa.timestamp("s"))}, {},
        "'city' of .* holds times, but categorical must hold",
    ),
    "lists of several in one": (
        log(50), {"categorical": ["tags"], "multivalued": []},
        "'tags' of .* holds lists, but categorical must hold",
    ),
    "text without separator": (
        log(50) | {"tags": ["war|noir"] * 50}, {"separator": ""},
        "'tags' of .* holds text, but multivalued must hold lists",
    ),
    "two roles": (log(50), {"dense": ["price", "user_id"]}, "named in categorical and in dense"),
    "twice": (log(50), {"categorical": ["city", "city"]}, "names the column 'city' twice"),
    "a string of names": (log(50), {"categorical": "city"}, "give a list of column names"),
    "time that is text": (
        log(50) | {"timestamp": ["now"] * 50}, {"time": "timestamp", "split_by": "time"},
        "'timestamp' of .* holds text: rows are ordered by times or numbers",
    ),
    "missing time": (
        changed("timestamp", 3, None), {"time": "timestamp", "split_by": "time"},
        "holds 1 missing times",
    ),
    "no time": (without("timestamp"), {"split_by": "time"}, "split_by='time' needs time"),
    "no group": (log(50), {"split_by": "last"}, "split_by='last' needs group"),
    "empty split": (
        log(50), {"split": {"train": 0.99, "test": 0.001}}, "split test is empty",
    ),
    "splits that overlap": (
        log(50), {"split": {"train": 40, "test": 20}}, "train 40 . test 20 = 60 rows, but .*50",
    ),
    "dates of numbers": (
        log(50), {"split": {"train": "2020-01-01"}, "split_by": "time"},
        "the times of .* are plain numbers",
    ),
    "unknown option value": (log(50), {"missing": "median"}, "missing='median': choose error"),
    "unknown transform": (log(50), {"transforms": "cube"}, "has the transform 'cube': choose log"),
    "transform of nothing": (
        log(50), {"transforms": {"prize": "log"}}, "transforms names prize, which is none of price",
    ),
    "hashed number": (log(50), {"hashed": {"price": 10}}, "hashed names price"),
    "hashed into nothing": (log(50), {"hashed": {"city": 0}}, "city is hashed into 0 rows"),
    "label that is always 1": (
        log(50) | {"click": [1] * 50}, {},
        "label 'click' is 1 in all training rows of the table: a ranker learns from rows of both",
    ),
    "groups that are lists": (
        log(50), {"group": "tags"}, "'tags' of .* holds lists, but group must hold texts or whole",
    ),
    "lists of lists": (
        log(50) | {"tags": [[["war"]]] * 50}, {}, "'tags' of .* holds lists, but its categories",
    ),
    "ids beyond 63 bits": (
        log(50) | {"user_id": pa.array([2**64 - 1] * 50, pa.uint64())}, {},
        r"numbers that are no categories .*: name it in dense, or write it as text \(type: text",
    ),
    "no rows": ({name: [] for name in log(1)}, {}, "has columns but no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENT)
def test_tables_that_are_wrong(name: str) -> None:
    columns, options, words = CONTENT[name]
    with pytest.raises(ValueError, match=words) as raised:
        InteractionsData(pa.table(columns), **COLUMNS | options).description()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"cache": "disk"}, "cache='disk': choose auto, memory, files"),
        ({"layout": "netflix"}, "layout='netflix': choose criteo, avazu, movielens"),
        ({"split": {"train": 0.5, "tests": 0.5}}, "unknown split 'tests'"),
        ({"split": {"test": 0.5}}, "needs train"),
        ({"split": {"train": 0.9, "test": 0.2}}, "add up to 1.1, more than all rows"),
        ({"split": {"train": -1}}, "split train=-1"),
        ({"split": {"train": "2014-10-30"}}, "has dates: give one for each split, and split_by"),
        ({"split_by": "user"}, "split_by='user': choose random, time, last"),
        ({"min_count": {"city": 0}}, "min_count must be at least 1, got 0"),
        ({"path": {"test": "b.csv"}}, "path names test, but must name train"),
        ({"path": {"train": "a.csv"}, "split": {"train": 1.0}}, "but path has files of each"),
        ({"schema": {"click": "target"}}, "column 'click' has the role 'target'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InteractionsData(**{"path": "log.csv"} | options)


def test_a_second_file_of_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", log(50))
    write(tmp_path / "b.parquet", log(50) | {"price": ["dear"] * 50})
    data = InteractionsData(str(tmp_path / "*.parquet"), **COLUMNS)
    with pytest.raises(ValueError, match=r"'price' holds numbers in .*a.parquet, but text in"):
        data.description()
    write(tmp_path / "b.parquet", without("city"))
    with pytest.raises(ValueError, match=r"b.parquet has no column 'city'"):
        data.description()


def test_columns_of_one_name() -> None:
    table = pa.table([[1, 0], [1, 2], [3, 4]], names=["click", "a", "a"])
    with pytest.raises(ValueError, match="has two columns called 'a'"):
        InteractionsData(table).description()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(OSError, match="is empty"):
        InteractionsData(str(tmp_path / "empty.csv")).description()
    path = Path(write(tmp_path / "log.parquet", log(50)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match="is not a Parquet file, or is damaged"):
        InteractionsData(str(path)).description()
    with pytest.raises(ValueError, match=r"cannot read interactions from log.xlsx: valid: CSV"):
        InteractionsData("log.xlsx").description()
    (tmp_path / "ragged.csv").write_text("click,city\n1,wien\n0,linz,graz\n")
    with pytest.raises(ValueError, match=r"cannot read .*ragged.csv: .*Expected 2 columns, got 3"):
        InteractionsData(str(tmp_path / "ragged.csv")).description()
    write(tmp_path / "ratings.csv", {"userId": [1], "movieId": [1], "rating": [1]})
    with pytest.raises(FileNotFoundError, match=r"no movies.csv"):
        InteractionsData(str(tmp_path), layout="movielens").description()
    with gzip.open(tmp_path / "day.tsv.gz", "wt") as file:
        file.write("\t".join(["0"] * 41))
    with pytest.raises(ValueError, match="41 fields in its first line, but 40 names"):
        InteractionsData(str(tmp_path / "day.tsv.gz"), layout="criteo").description()


def test_one_file_in_two_splits(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", log(50))
    data = InteractionsData({"train": path, "test": path}, **COLUMNS)
    with pytest.raises(ValueError, match=r"log.csv is in both train and test of path"):
        data.description()


def test_a_damaged_row_group_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "log.parquet", log(400)))
    data = InteractionsData(str(path), **COLUMNS, cache="files", batch_size=32)
    data.setup("fit")
    content = bytearray(path.read_bytes())
    content[200:1200] = b"\xff" * 1000
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"log.parquet is not a Parquet file, or is damaged"):
        list(data.train_dataloader())


def varint_end(content: bytes, at: int) -> int:
    return next(n for n in range(at, len(content)) if content[n] < 0x80) + 1


def test_a_page_that_claims_two_gibibytes_gets_no_such_room(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    table = pa.table(log(400))
    pa.parquet.write_table(table, path, use_dictionary=False, compression="none")
    content = path.read_bytes()
    size = varint_end(content, 7) + 1  # after the kind of page and its size unpacked, in Thrift
    assert content[4:7] == b"\x15\x00\x15"
    assert content[size - 1] == 0x15
    claim = b"\xc0\xff\xff\xff\x0f"  # 2,147,483,616 bytes
    path.write_bytes(content[:size] + claim + content[varint_end(content, size) :])
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(OSError, match=r"log.parquet is not a Parquet file, or is damaged"):
        InteractionsData(str(path), **COLUMNS).description()
    assert pa.default_memory_pool().max_memory() < before + 2**28


def trained() -> InteractionsDescription:
    return InteractionsData(pa.table(log(50)), **COLUMNS).description()


def test_vocabularies_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no saved model at"):
        InteractionsData(pa.table(log(50)), vocabularies=str(tmp_path / "gone")).description()
    (tmp_path / "config.json").write_text('{"description": {"classes": []}}')
    with pytest.raises(ValueError, match="is of no model of interactions"):
        InteractionsData(pa.table(log(50)), vocabularies=str(tmp_path)).description()
    data = InteractionsData(pa.table(without("city")), vocabularies=trained())
    with pytest.raises(ValueError, match="has no column 'city'"):
        data.description()
    data = InteractionsData(pa.table(log(50) | {"user_id": ["x"] * 50}), vocabularies=trained())
    with pytest.raises(ValueError, match=r"'user_id' of .* holds text, but its categories"):
        data.description()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("user_id", "seven", "row 1 has 'seven' in the column user_id, whose categories are whole"),
        ("city", 7, "row 1 has 7 in the column city, whose categories are texts"),
        ("city", ["wien"], r"row 1 has \['wien'\] in the column city, which holds one category"),
        ("price", None, "row 1 has nan in the column price: fill it first"),
        ("tags", 5, "row 1 has 5 in the multi-valued column tags, which holds lists"),
        ("price", "dear", "row 1 has 'dear' in the column price, which holds numbers"),
    ],
)
def test_rows_to_score_of_another_kind(name: str, value: Any, words: str) -> None:
    rows = {key: values[:3] for key, values in log(50).items()}
    rows[name] = [rows[name][0], value, rows[name][2]]
    with pytest.raises(ValueError, match=words):
        encode_rows(trained(), rows)


def test_rows_to_score_that_are_no_columns() -> None:
    row = {key: values[0] for key, values in log(1).items()}
    with pytest.raises(ValueError, match=r"the column user_id is [0-9]+, but must be a sequence"):
        encode_rows(trained(), row)
    with pytest.raises(ValueError, match="rows are list, but must be columns by name: a mapping"):
        encode_rows(trained(), [row])
    rows = {key: values[:3] for key, values in log(50).items()}
    rows["user_id"] = [999, "seven", 101]  # the first one is only unknown
    with pytest.raises(ValueError, match="row 1 has 'seven' in the column user_id, whose"):
        encode_rows(trained(), rows)


def test_frames_that_are_no_tables() -> None:
    frame = pd.DataFrame(log(50))
    for wrong, words in (
        (frame.assign(city=[*range(49), "wien"]), "the table cannot be read: .*column city"),
        (pd.concat([frame, frame[["city"]]], axis=1), "Duplicate column names found"),
        ([frame, frame], "cannot read interactions from list: valid: CSV"),
    ):
        with pytest.raises(ValueError, match=words) as raised:
            InteractionsData(wrong, **COLUMNS).description()
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"layout='movielens' needs the folder .* not DataFrame"):
        InteractionsData(frame, layout="movielens").description()


def test_hours_that_are_not_those_of_avazu(tmp_path: Path) -> None:
    from surform.data.interactions_layouts import layout_of

    hours = layout_of("avazu", "")[1].derived["hour_of_day"]
    assert hours.make(pa.array([14102123])).to_pylist() == [23]
    with pytest.raises(ValueError, match=r"column 'hour' must hold YYMMDDHH, .*'99139900'"):
        hours.make(pa.array([99139900]))


def test_unseen_categories_and_empty_lists_are_no_fault() -> None:
    rows = {key: values[:2] for key, values in log(50).items()}
    rows |= {"user_id": [999, None], "city": ["oslo", None], "tags": [[], None]}
    batch = encode_rows(trained(), rows)
    assert batch.categorical.tolist() == [[0, 0], [0, 0]]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [[0], [0]]


def test_vocabularies_that_cannot_be() -> None:
    about = trained()
    for known, words in (
        (["a", 1], "the vocabulary of city mixes texts and whole numbers"),
        ([1.5], "the vocabulary of city holds float"),
        (["a", "a"], "the vocabulary of city names a category twice"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(about, vocabularies=about.vocabularies | {"city": known})
    with pytest.raises(ValueError, match="city has a vocabulary, and is hashed too"):
        replace(about, hashed={"city": 8})


def test_schemas_that_cannot_be(tmp_path: Path) -> None:
    for schema, words in (
        ({}, "must map columns to their roles"),
        (
            {"a": {"role": "number", "hashed": 3}},
            "'a' has the option 'hashed': a number has",
        ),
        ({"a": {"role": "category", "type": "date"}}, "has the type 'date': choose text or whole"),
        ({"a": "time", "b": "time"}, "both 'a' and 'b' are the time"),
        ({2020: {"role": "category", "type": "text"}}, "schema: 2020 names no column, .* quotes"),
    ):
        with pytest.raises(ValueError, match=words):
            read_schema(schema)
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"bad.yaml is neither YAML nor JSON"):
        read_schema(str(tmp_path / "bad.yaml"))
    (tmp_path / "numbers.yaml").write_text("click: label\n7: number\n")
    with pytest.raises(ValueError, match=r"numbers.yaml: 7 names no column, it is no text"):
        read_schema(str(tmp_path / "numbers.yaml"))
    with pytest.raises(ValueError, match="dense is given twice: in schema and beside it"):
        InteractionsData("log.csv", dense=["price"], schema={"price": "number"})


@pytest.mark.fault
def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"click,user,pr\xf6is\n0,a,1\n1,b,2\n")
    with pytest.raises(ValueError, match=r"log\.csv.*not UTF-8"):
        InteractionsData(path).description()
