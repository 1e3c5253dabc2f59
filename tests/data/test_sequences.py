"""Sequences in every layout that is read, batches, splits, and what is wrong with files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surform.data.sequences_description import SequencesDescription
from surform.data.sequences_module import SequencesData
from surform.data.sequences_open import open_sequences
from surform.data.solvers.generate import generate


def text(source: Any, number: int) -> str:
    """The text that tokens of bytes stand for."""
    (row,) = source.read([number], 10_000)
    return bytes(token - 1 for token in np.ravel(row).tolist() if token).decode()


def table(path: Path, rows: list[tuple[str, ...]], between: str = "\t") -> Path:
    path.write_text("\n".join(between.join(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_texts_in_folders(tmp_path: Path) -> None:
    for split, kind, name, words in (
        ("train", "pos", "a", "good"), ("train", "neg", "b", "bad ✗"), ("test", "pos", "c", "fine"),
    ):  # fmt: skip
        folder = tmp_path / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text(words, encoding="utf-8")
    found = open_sequences(str(tmp_path))
    assert (found.tokens, found.vocab_size, found.classes) == ("bytes", 257, ("neg", "pos"))
    assert [text(found, n) for n in range(3)] == ["fine", "bad ✗", "good"]
    assert found.labels.tolist() == [1, 0, 1]
    assert {split: n.tolist() for split, n in found.parts.items()} == {"test": [0], "train": [1, 2]}
    alone = open_sequences(str(tmp_path / "train"))
    assert (len(alone), dict(alone.parts)) == (2, {})


def test_tables_of_texts_and_of_pairs(tmp_path: Path) -> None:
    texts = table(tmp_path / "t.csv", [("label", "text"), ("a", '"x, y"'), ("b", "z")], ",")
    found = open_sequences(str(texts))
    assert [text(found, n) for n in range(2)] == ["x, y", "z"]
    named = table(tmp_path / "p.tsv", [("text1", "text2", "label"), ("one", "two2", "1")])
    found = open_sequences(str(named))
    assert (found.tokens, len(found)) == ("pairs", 1)
    assert found.read([0], 100).shape == (1, 2, 4)
    folder = tmp_path / "aan"
    folder.mkdir()
    for split, label in (("train", "1.0"), ("eval", "0.0"), ("test", "1.0")):
        row = (label, "17", "18", f"{split} one", "two")
        table(folder / f"new_aan_pairs.{split}.tsv", [row, ("0.0", *row[1:])])
    found = open_sequences(str(folder))
    assert found.tokens == "pairs"
    assert {s: len(n) for s, n in found.parts.items()} == {"validation": 2, "test": 2, "train": 2}
    assert text(found, int(found.parts["test"][0])) == "test onetwo"


def test_long_documents_leave_the_limit_of_the_process(tmp_path: Path) -> None:
    usual = csv.field_size_limit(131_072)
    try:
        words = table(tmp_path / "t.tsv", [("label", "text"), ("a", "x" * 200_000), ("b", "y")])
        assert open_sequences(str(words)).longest == 200_000
        assert csv.field_size_limit() == 131_072
    finally:
        csv.field_size_limit(usual)


def test_official_and_generated_listops_are_the_same_tokens(tmp_path: Path) -> None:
    rows = [("Source", "Target"), ("( ( ( [MAX 2 ) 9 ) ] )", "9"), ("( ( ( [SM 4 ) 7 ) ] )", "1")]
    found = open_sequences(str(table(tmp_path / "basic_train.tsv", rows)))
    assert (found.tokens, found.vocab_size, len(found.classes)) == ("listops", 16, 10)
    assert found.read([0, 1], 9).tolist() == [[12, 3, 10, 15], [14, 5, 8, 15]]
    assert found.read([0], 3).tolist() == [[12, 3, 10]]
    assert found.labels.tolist() == [9, 1]
    for name in ("l.zarr", "l.h5"):
        generate("listops", tmp_path / name, 20, min_length=5, max_length=20)
        made = open_sequences(str(tmp_path / name))
        assert (made.tokens, made.vocab_size, len(made)) == ("listops", 16, 20)
        assert 5 < made.longest < 20
        assert made.provenance["solver"] == "listops"


def test_pixels_row_by_row(tmp_path: Path) -> None:
    generate("pathfinder", tmp_path / "p.h5", 6, side=24, dashes=5, distractors=1)
    found = open_sequences(str(tmp_path / "p.h5"))
    assert (found.tokens, found.vocab_size) == ("pixels", 257)
    assert found.classes == ("apart", "connected")
    assert found.longest == 24 * 24
    colors = np.zeros((3, 2, 2, 3), dtype=np.uint8)
    colors[1, 0, 1] = (255, 255, 255)
    colors[2, 1, 0] = (255, 0, 0)
    np.savez(tmp_path / "c.npz", images=colors, labels=np.array([0, 1, 1]))
    found = open_sequences(str(tmp_path / "c.npz"))
    assert found.read([1, 2], 4).tolist() == [[1, 256, 1, 1], [1, 1, 77, 1]]


def data(tmp_path: Path, **options: Any) -> SequencesData:
    made = {"solver": "listops", "samples": 60, "min_length": 7, "max_length": 30}
    return SequencesData(str(tmp_path / "s.zarr"), generate=made, **{"batch_size": 8} | options)


def test_batches_are_padded_to_their_longest_and_splits_share_nothing(tmp_path: Path) -> None:
    module = data(tmp_path, length=20, split={"train": 40, "validation": 10, "test": 10})
    module.setup("fit")
    seen = []
    for batch in (*module.train_dataloader(), *module.val_dataloader()):
        assert batch.tokens.shape[1] <= 20
        assert (batch.tokens[:, -1] != 0).any()
        assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    numbers = [module.samples(split).numbers for split in ("train", "validation", "test")]
    seen = np.concatenate(numbers)
    assert len(np.unique(seen)) == len(seen) == 60
    about = module.description()
    assert about.sizes() | {"num_classes": 0} == {
        "num_classes": 0, "vocab_size": 16, "length": 20, "sequences": 1,
    }  # fmt: skip
    assert SequencesDescription.from_dict(about.to_dict()) == about


@pytest.mark.fault
def test_a_model_is_not_used_on_other_sequences(tmp_path: Path) -> None:
    about = data(tmp_path).description()
    for message, change in (
        ("trained with the classes", {"classes": ("a", "b")}),
        ("trained on words of ListOps, x holds bytes", {"tokens": "bytes"}),
        ("has sequences of 99: set data.length to", {"length": 99}),
    ):
        other = SequencesDescription(**vars(about) | change)
        with pytest.raises(ValueError, match=message):
            about.require_match(other, "x")


@pytest.mark.fault
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    def written(name: str, *rows: tuple[str, ...]) -> str:
        return str(table(tmp_path / name, list(rows), "," if name.endswith("csv") else "\t"))

    (tmp_path / "empty.tsv").touch()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.txt").write_text("x")
    (tmp_path / "latin.tsv").write_bytes(b"label\ttext\na\t\xff\xfe\n")
    np.savez(tmp_path / "f.npz", images=np.zeros((2, 2, 2, 1), np.float32), labels=np.arange(2))
    head = ("text", "label")
    for message, path, options in (
        ("no data at", str(tmp_path / "none.tsv"), {}),
        ("is empty", str(tmp_path / "empty.tsv"), {}),
        ("holds no rows below its names", written("a.tsv", head), {}),
        ("lacks a column 'label'", written("b.tsv", ("text", "kind"), ("x", "y")), {}),
        ("lacks a column 'text'", written("c.tsv", ("words", "label"), ("x", "y")), {}),
        ("line 3 of .* has 1 columns, at least 2", written("d.tsv", head, ("x", "y"), ("z",)), {}),
        ("line 2 of .* has an empty text", written("e.tsv", head, ("", "y")), {}),
        ("line 2 of .* has no label", written("g.tsv", head, ("x", " ")), {}),
        ("line 2 of .*'AVG' is no word of ListOps", written(
            "h.tsv", ("Source", "Target"), ("AVG 3 ]", "3")), {}),
        ("has the value '12', but those of ListOps", written(
            "i.tsv", ("Source", "Target"), ("[MAX 3 ]", "12")), {}),
        ("has no pairs: it lacks the columns text1", written("j.tsv", head, ("x", "y")),
         {"tokens": "pairs"}),
        ("no table of UTF-8 text|not a table of UTF-8 text", str(tmp_path / "latin.tsv"), {}),
        ("has .txt files, but no folder of them", str(tmp_path / "flat"), {}),
        ("are no 8-bit numbers", str(tmp_path / "f.npz"), {}),
        ("holds no bytes", str(tmp_path / "f.npz"), {"tokens": "bytes"}),
    ):  # fmt: skip
        with pytest.raises((ValueError, OSError), match=message) as error:
            open_sequences(path, **options)
        assert "\n" not in str(error.value)


@pytest.mark.fault
def test_tables_of_other_kinds_and_classes_that_no_split_has(tmp_path: Path) -> None:
    table(tmp_path / "x_train.tsv", [("text", "label"), ("a", "y")])
    table(tmp_path / "x_test.tsv", [("text1", "text2", "label"), ("a", "b", "y")])
    with pytest.raises(ValueError, match="hold pairs and bytes"):
        open_sequences(str(tmp_path))
    for message, options in (
        ("length must be at least 1, got 0", {"length": 0}),
        ("tokens='words': choose auto, listops, bytes, pairs, pixels", {"tokens": "words"}),
    ):
        with pytest.raises(ValueError, match=message):
            SequencesData("x.tsv", **options)
    (tmp_path / "lost").mkdir()
    table(tmp_path / "lost" / "a_train.tsv", [("text", "label"), ("a", "y"), ("b", "y")])
    table(tmp_path / "lost" / "a_test.tsv", [("text", "label"), ("a", "z")])
    with pytest.raises(ValueError, match=r"no training sequence of .* shows the class 'z'"):
        SequencesData(str(tmp_path / "lost"), split={"train": 2}).description()
