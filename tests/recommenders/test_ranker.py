"""Rankers: rows of a table, unknown categories, saving, folding, exporting, wrong rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import torch

from surform import create_model, load_model
from surform.data.interactions_batch import InteractionsBatch
from surform.data.interactions_description import InteractionsDescription
from surform.data.interactions_rows import encode_rows
from surform.data.normalizers import Normalizer
from surform.hub.export import export
from surform.recommenders.ranker import Ranker
from tests.recommenders.networks import SMALL, drawn

ABOUT = InteractionsDescription(
    categorical=("user", "country"),
    multivalued=("genres", "tags"),
    dense=("age", "price", "hour"),
    labels=("click", "buy"),
    vocabularies={
        "user": [17, 4, 9, 2],
        "country": ["at", "ch"],
        "genres": ["drama", "noir", "war"],
        "tags": ["a", "b", "c", "d", "e"],
    },
    group="user",
    transforms={"price": "log"},
)
ROWS: dict[str, Any] = {
    "user": [17, 99, 2],
    "country": ["ch", None, "at"],
    "genres": [["war", "drama"], [], ["western"]],
    "tags": [["a"], ["e", "e", "b"], None],
    "age": [20, 30, 41.5],
    "price": [0.0, -3.0, 12.0],
    "hour": [1, 2, 3],
}
NETS: dict[str, dict[str, Any]] = {
    "hiformer": SMALL | {"deep": (4,)},
    "autoint": {
        n: SMALL[n]
        for n in ("vocab_sizes", "multi_vocab_sizes", "dense_features", "dense_tokens", "tasks")
    },
}


def ranker(name: str = "hiformer", **options: Any) -> Ranker:
    model = Ranker(drawn(create_model(name, **NETS[name] | options), torch.float32))
    model.fit_to(ABOUT, Normalizer(torch.tensor([30.0, 0.5, 2.0]), torch.tensor([9.0, 2.0, 1.0])))
    return model.eval()


def test_rows_become_ids_and_unknown_categories_row_zero() -> None:
    batch = encode_rows(ABOUT, ROWS)
    assert batch.categorical.tolist() == [[1, 2], [0, 0], [4, 1]]
    assert batch.values is not None
    assert batch.lengths is not None
    assert batch.values.tolist() == [3, 1, 1, 5, 5, 2, 0]
    assert batch.lengths.tolist() == [[2, 1], [0, 3], [1, 0]]
    assert batch.dense is not None
    log = torch.tensor([0.0, -4.0, 13.0])
    assert torch.allclose(batch.dense[:, 1], log.sign() * log.abs().clamp(min=1).log())
    assert batch.labels.shape == (3, 0)
    with_labels = encode_rows(ABOUT, ROWS | {"click": [1, 0, 0], "buy": [0, None, 1]})
    assert with_labels.labels[0].tolist() == [1, 0]
    assert bool(with_labels.labels[1, 1].isnan())


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda rows: pl.DataFrame(rows, strict=False)])
def test_data_frames_score_as_mappings_do(frame: Any) -> None:
    model = ranker()
    assert torch.equal(model.score(frame(ROWS)), model.score(ROWS))


def test_batches_of_any_size_score_alike() -> None:
    model = ranker()
    whole = model.score(ROWS)
    assert whole.shape == (3, 2)
    assert torch.allclose(model.score(ROWS, batch_size=1), whole, atol=1e-6)
    assert torch.allclose(model.score(ROWS, batch_size=2), whole, atol=1e-6)
    assert model.score({name: [] for name in ROWS}).shape == (0, 2)


def test_unknown_categories_all_score_alike() -> None:
    model, others = ranker(), {"user": [5, 6, 7], "country": ["xx"] * 3, "genres": [["?"]] * 3}
    same = {"tags": [[]] * 3, "age": [1.0] * 3, "price": [1.0] * 3, "hour": [1.0] * 3}
    found = model.score(others | same)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_popularity_ranks_too(tmp_path: Path) -> None:
    given = {
        name: SMALL[name]
        for name in ("vocab_sizes", "multi_vocab_sizes", "dense_features", "tasks")
    }
    model = Ranker(create_model("popularity", **given))
    model.fit_to(ABOUT, Normalizer(torch.zeros(3), torch.ones(3)))
    model.net.observe(torch.tensor([[1, 0], [1, 2]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))  # type: ignore[operator]
    chances = model.score(ROWS)
    assert chances[0, 0] > chances[2, 0]
    model.save_pretrained(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert isinstance(again, Ranker)
    assert torch.equal(again.score(ROWS), chances)


@pytest.mark.parametrize("name", NETS)
def test_saved_rankers_know_their_vocabularies(name: str, tmp_path: Path) -> None:
    model = ranker(name)
    model.save_pretrained(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert isinstance(again, Ranker)
    assert again.description == ABOUT
    assert torch.equal(again.score(ROWS), model.score(ROWS))


@pytest.mark.parametrize("kind", ["feature", "lowrank", "composite"])
def test_folded_rankers_score_alike_and_are_saved(kind: str, tmp_path: Path) -> None:
    model = ranker(attention=kind)
    folded = model.folded()
    assert (folded.score(ROWS) - model.score(ROWS)).abs().max() < 1e-5
    folded.save_pretrained(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert isinstance(again, Ranker)
    assert torch.equal(again.score(ROWS), folded.score(ROWS))


@pytest.mark.parametrize(
    ("suffix", "folded"),
    [
        (".pt2", False),
        pytest.param(".pt2", True, marks=pytest.mark.slow),
        pytest.param(".onnx", False, marks=pytest.mark.slow),
        (".onnx", True),
    ],
)
def test_exported_programs_give_the_same_logits(suffix: str, folded: bool, tmp_path: Path) -> None:
    model = ranker()
    export(model.folded() if folded else model, tmp_path / f"program{suffix}")
    assert (tmp_path / f"program{suffix}").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["lists", "numbers"])
def test_one_kind_of_feature_makes_a_ranker(kind: str, tmp_path: Path) -> None:
    if kind == "lists":
        model = Ranker(create_model("hiformer", vocab_sizes=(), multi_vocab_sizes=(3,)))
        about: dict[str, Any] = {"multivalued": ("tags",), "vocabularies": {"tags": ["a", "b"]}}
        rows: dict[str, Any] = {"tags": [["a"], [], ["b", "c"]]}
        model.fit_to(InteractionsDescription(**about))
    else:
        model = Ranker(create_model("hiformer", vocab_sizes=(), dense_features=2, dense_tokens=1))
        rows = {"x": [0.0, 1.0, 2.0], "y": [3, 4, 5]}
        numbers = Normalizer(torch.zeros(2), torch.ones(2))
        model.fit_to(InteractionsDescription(dense=("x", "y")), numbers)
    model.eval().save_pretrained(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert isinstance(again, Ranker)
    assert torch.equal(again.score(rows), model.score(rows))
    assert torch.allclose(model.folded().score(rows), model.score(rows), atol=1e-5)
    assert export(model, tmp_path / "program.pt2") < 1e-5


def test_exported_programs_take_unknown_ids_for_row_zero() -> None:
    net = drawn(create_model("autoint", vocab_sizes=(5, 3)), torch.float32)
    program = torch.export.export(net, (torch.tensor([[0, 2], [1, 1]]),))
    found = program.module()(torch.tensor([[-1, 9], [99, 1]]))
    assert torch.allclose(found, net(torch.tensor([[0, 0], [0, 1]])))


def test_numbers_are_standardised_inside() -> None:
    model = ranker()
    batch = encode_rows(ABOUT, ROWS)
    given = batch.inputs()
    shifted = given | {"dense": (given["dense"] - model.dense.mean) / model.dense.std}  # type: ignore[union-attr]
    assert torch.allclose(model.net(**shifted).sigmoid(), model.outputs(batch))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": None}, "no column 'user' among the rows: did you mean 'usr'"),
        ({"age": [1, "old", 3]}, "row 1 has 'old' in the column age, which holds numbers"),
        ({"age": [1, 2, float("inf")]}, "row 2 has inf in the column age"),
        ({"age": [1, 2]}, "columns have different lengths: .*age 2"),
        ({"genres": [["war"], "noir", []]}, "row 1 has 'noir' in the multi-valued column genres"),
        ({"click": [0, 1, 2], "buy": [0, 0, 0]}, "row 2 has the label 2 in click"),
    ],
)
def test_rows_that_do_not_fit(change: dict[str, Any], words: str) -> None:
    rows = ROWS | {"usr": ROWS["user"]} | change
    rows = {name: value for name, value in rows.items() if value is not None}
    with pytest.raises(ValueError, match=words):
        encode_rows(ABOUT, rows)
    if "click" in change:  # scores need no labels
        assert torch.equal(ranker().score(rows), ranker().score(ROWS))
    else:
        with pytest.raises(ValueError, match=words):
            ranker().score(rows)


@pytest.mark.fault
def test_a_ranker_without_description_or_statistics() -> None:
    model = Ranker(create_model("hiformer", **SMALL))
    with pytest.raises(ValueError, match="does not know the columns and categories"):
        model.score(ROWS)
    with pytest.raises(ValueError, match="no statistics"):
        model(**encode_rows(ABOUT, ROWS).inputs())
    with pytest.raises(ValueError, match="give the normaliser fitted to them"):
        model.fit_to(ABOUT)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vocab_sizes": (5, 4)}, r"built with vocab_sizes \[5, 4\], the table has \[5, 3\]"),
        ({"dense_features": 2}, "shape \\(3,\\), the network takes 2 numbers"),
    ],
)
def test_networks_of_another_table(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ranker(**options)


@pytest.mark.fault
def test_only_a_hiformer_folds() -> None:
    with pytest.raises(ValueError, match="only a Hiformer folds, not a AutoInt"):
        ranker("autoint").folded()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dense": ("age", "user")}, "columns have one role each, but user has two"),
        ({"labels": ()}, "at least one label"),
        ({"categorical": ("user", "city")}, "no vocabulary of city"),
        ({"vocabularies": ABOUT.vocabularies | {"user": [1, 1]}}, "user names a category twice"),
    ],
)
def test_descriptions_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InteractionsDescription.from_dict(ABOUT.to_dict() | changes)


@pytest.mark.fault
def test_tables_that_are_numbered_otherwise() -> None:
    other = ABOUT.to_dict() | {"vocabularies": ABOUT.vocabularies | {"user": [4, 17, 9, 2]}}
    with pytest.raises(ValueError, match=r"categories of user are numbered otherwise in log\.csv"):
        ABOUT.require_match(InteractionsDescription.from_dict(other), "log.csv")
    fewer = ABOUT.to_dict() | {"dense": ["age", "price"]}
    with pytest.raises(ValueError, match=r"with dense age, price, hour, log\.csv has age"):
        ABOUT.require_match(InteractionsDescription.from_dict(fewer), "log.csv")


def test_batches_move_as_a_whole() -> None:
    batch = encode_rows(ABOUT, ROWS).to("cpu")
    assert isinstance(batch, InteractionsBatch)
    assert len(batch) == 3
