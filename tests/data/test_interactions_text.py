"""Text files: marks, names, fields that look like numbers, missing last fields; as Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from surform.data import InteractionsData, interactions_text, text_to_parquet
from tests.data.interaction_files import log, write

COLUMNS: dict[str, Any] = {
    "categorical": ["user_id", "city"], "multivalued": ["tags"], "dense": ["price"],
    "separator": "|",
}  # fmt: skip
CRITEO = ["label", *(f"I{n}" for n in range(1, 14)), *(f"C{n}" for n in range(1, 27))]


def criteo(rows: int = 60, whole: int = 3) -> list[list[str]]:
    """Fields of Criteo's log; of most lines the last ones are missing."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(rows):
        counts = [str(n) if n % 5 else "" for n in random.integers(-1, 50, 13)]
        categories = [f"{n:08d}" for n in random.integers(0, 9, 26)]
        own = [str(number % 2), *counts, *categories]
        lines.append(own if number % whole == 0 else own[:-2])
    return lines


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "log.csv", log()))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for header in (None, list(log(1))):
        data = InteractionsData(str(path), **COLUMNS, columns=header)
        assert len(data.split_rows()["train"]) == 160


def test_bars_separate_fields_where_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("click|city\n" + "1|wien\n0|linz\n" * 20)
    about = InteractionsData(str(tmp_path / "log.csv")).description()
    assert sorted(about.vocabularies["city"]) == ["linz", "wien"]


def test_hashed_and_multivalued_fields_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    columns = log(40) | {"city": [f"{n % 7:04d}" for n in range(40)], "tags": ["7"] * 40}
    data = InteractionsData(write(tmp_path / "log.csv", columns), **COLUMNS, hashed={"city": 10**6})
    assert data.description().vocabularies["tags"] == ["7"]
    table = InteractionsData(pa.table(columns), **COLUMNS, hashed={"city": 10**6})
    one, other = (d.samples("train")[list(range(32))] for d in (data, table))
    assert torch.equal(one.categorical, other.categorical)
    assert torch.equal(one.values, other.values)


@pytest.mark.parametrize("hashed", [None, {"city": 10**6}])
def test_a_trained_model_reads_text_as_in_training(
    tmp_path: Path, hashed: dict[str, int] | None
) -> None:
    cities = ["0000abcd", *(f"{n % 7:08d}" for n in range(199))]
    trained = InteractionsData(
        write(tmp_path / "a.csv", log() | {"city": cities}), **COLUMNS, hashed=hashed
    )
    digits = log(30, 1) | {"city": cities[1:31], "tags": ["7"] * 30}
    source = write(tmp_path / "b.csv", digits)
    read = {"vocabularies": trained.description(), "split": {"train": 1.0}}
    found = InteractionsData(source, **read).samples("train")[list(range(30))]
    expected = InteractionsData(pa.table(digits), **read).samples("train")[list(range(30))]
    assert torch.equal(found.categorical, expected.categorical)
    assert bool(found.categorical[:, 1].all())


def test_criteo_without_labels(tmp_path: Path) -> None:
    lines = criteo()
    (tmp_path / "train.txt").write_text("\n".join("\t".join(x) for x in lines))
    (tmp_path / "test.txt").write_text("\n".join("\t".join(x[1:]) for x in lines))
    data = InteractionsData(str(tmp_path / "train.txt"), layout="criteo")
    from surform.data.interactions_encoder import InteractionsEncoder
    from surform.data.interactions_opening import open_table

    encoder = InteractionsEncoder(data.description())
    (test,), (train,) = (
        list(open_table(str(tmp_path / name), "criteo")[0].parts(columns))
        for name, columns in (("test.txt", CRITEO[1:]), ("train.txt", CRITEO))
    )
    found, expected = (encoder.encode(part.batch, part.file) for part in (test, train))
    assert found.labels.shape == (60, 0)
    np.testing.assert_array_equal(found.categorical, expected.categorical)
    np.testing.assert_array_equal(found.dense, expected.dense)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_text_becomes_parquet_block_by_block(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactions_text, "_BLOCK", 4096)
    monkeypatch.setattr("surform.data.interactions_convert.BATCH_ROWS", 128)
    text = "\r\n".join("\t".join(x) for x in criteo(500)).encode()
    source = tmp_path / f"train{suffix}"
    source.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    out = text_to_parquet(source, tmp_path / "train.parquet", layout="criteo")
    groups = parquet.read_metadata(out)
    assert [groups.row_group(n).num_rows for n in range(4)] == [128, 128, 128, 116]
    read, written = (InteractionsData(str(p), layout="criteo") for p in (source, out))
    one, other = (d.samples("train")[list(range(400))] for d in (read, written))
    assert torch.equal(one.categorical, other.categorical)
    assert torch.equal(one.dense, other.dense)
    assert read.description().source["fingerprint"] == written.description().source["fingerprint"]


@pytest.mark.fault
def test_text_that_cannot_become_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactions_text, "_BLOCK", 2048)
    path = write(tmp_path / "log.csv", log(200) | {"city": [*map(str, range(199)), "wien"]})
    out = tmp_path / "log.parquet"
    for given, words in (
        ({"out": tmp_path / "log.csv"}, "must end in .parquet"),
        ({"layout": "movielens"}, "MovieLens has several files"),
        ({"types": {"city": "float"}}, "'city' has the type 'float': choose text, whole, number"),
        ({}, r"cannot read .*log.csv: .*column #2: .*invalid value 'wien'"),
    ):
        with pytest.raises(ValueError, match=words):
            text_to_parquet(path, **{"out": out} | given)
        assert not out.exists()
    (tmp_path / "none.csv").write_text("click,city\n")
    with pytest.raises(ValueError, match="has columns but no rows"):
        text_to_parquet(tmp_path / "none.csv", out)
    assert parquet.read_table(text_to_parquet(path, out, types={"city": "text"})).num_rows == 200


@pytest.mark.fault
def test_text_files_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write(tmp_path / "log.csv", log(50)))

    def refused(words: str, source: Path | list[str] = path, **options: Any) -> None:
        with pytest.raises(ValueError, match=words) as raised:
            InteractionsData(
                source if isinstance(source, list) else str(source), **COLUMNS | options
            ).description()
        assert "\n" not in str(raised.value)

    content = path.read_text()
    (tmp_path / "latin.csv").write_bytes(content.replace("wien", "g\xfcns").encode("latin1"))
    refused("'city' of .*latin.csv holds text that is not UTF-8", tmp_path / "latin.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(content.encode())[:-40])
    refused("cannot read .*cut.csv.gz: ", tmp_path / "cut.csv.gz")
    (tmp_path / "plain.csv.gz").write_text(content)
    refused("cannot read .*plain.csv.gz: ", tmp_path / "plain.csv.gz")
    (tmp_path / "bare.csv").write_text(content.partition("\n")[2])
    refused("longest line has 6 fields, but 7 names are given", tmp_path / "bare.csv",
            columns=[*log(1), "more"])  # fmt: skip
    (tmp_path / "na.csv").write_text("click,price\n" + "1,NA\n0,2.5\n" * 9)
    refused(r"'price' of .*na.csv holds text, but dense must hold numbers \(in text files an empty",
            tmp_path / "na.csv", categorical=[], multivalued=[])  # fmt: skip
    (tmp_path / "days.csv").write_text("click,city\n" + "1,2024-01-01\n0,2024-01-02\n" * 9)
    refused("'city' of .* holds times, but categorical .* type: text in a schema",
            tmp_path / "days.csv", categorical=["city"], multivalued=[], dense=[])  # fmt: skip
    write(tmp_path / "other.csv", log(50) | {"city": [1] * 50})
    refused("'city' holds text in .*log.csv, but numbers in .*other.csv: .* type: text",
            [str(path), str(tmp_path / "other.csv")])  # fmt: skip
    refused("log.csv is named twice: its rows would be in several splits", [str(path)] * 2)
    refused(r"is a folder: name its files, as in .*/\*.parquet", tmp_path)
    monkeypatch.setattr(interactions_text, "_MOST", 1000)
    refused("log.csv has .* GiB, and text is read whole: turn it into Parquet, .*text_to_parquet")
