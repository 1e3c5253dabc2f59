"""Scores of files: those of the model, in order, with what is to be kept; faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest
import torch

from surform.data.interactions_module import InteractionsData
from surform.recommenders.ranker import Ranker
from surform.registry import create_model
from tests.recommenders.click_files import two_labels, write
from tests.recommenders.test_ranking_task import ROLES


def ranker(place: Path, labels: tuple[str, ...] = ("click",), columns: Any = None) -> Ranker:
    file = write(place / "log.parquet", columns or two_labels())
    source = InteractionsData(str(file), **ROLES | {"labels": list(labels)})
    torch.manual_seed(0)
    about = source.description()
    model = Ranker(
        create_model(
            "hiformer",
            vocab_sizes=tuple(about.rows(name) for name in about.categorical),
            multi_vocab_sizes=tuple(about.rows(name) for name in about.multivalued),
            dense_features=1,
            dense_tokens=1,
            tasks=len(labels),
            embedding_std=0.5,
        )
    )
    model.fit_to(about, *source.normalizers())
    return model.eval()


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_scores_are_those_of_the_model_row_by_row(tmp_path: Path, suffix: str) -> None:
    model = ranker(tmp_path)
    rows = two_labels(330, seed=9)
    new = {n: v for n, v in rows.items() if n not in ("click", "bought")}  # nothing is known yet
    source = write(tmp_path / "new.parquet", new)
    out = model.predict_file(str(source), tmp_path / f"scores.{suffix}", batch_size=50,
                             keep=["item", "user"])  # fmt: skip
    found = parquet.read_table(out) if suffix == "parquet" else csv.read_csv(out)
    assert found.column_names == ["item", "user", "probability"]
    np.testing.assert_array_equal(found["item"].to_numpy(), rows["item"])
    expected = model.score(new)[:, 0].numpy()
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, rtol=1e-5)


def test_the_group_or_the_number_of_the_row_is_kept_by_default(tmp_path: Path) -> None:
    model = ranker(tmp_path, ("click", "bought"))
    source = tmp_path / "log.parquet"
    found = parquet.read_table(model.predict_file(str(source), tmp_path / "s.parquet"))
    assert found.column_names == ["user", "probability_click", "probability_bought"]
    model = ranker(tmp_path)
    object.__setattr__(model.description, "group", "")
    found = parquet.read_table(model.predict_file(str(source), tmp_path / "s.parquet"))
    assert found.column_names == ["row", "probability"]
    np.testing.assert_array_equal(found["row"].to_numpy(), np.arange(600))


def test_categories_that_training_did_not_see_are_scored_as_unknown(tmp_path: Path) -> None:
    model = ranker(tmp_path)
    rows = {n: v for n, v in two_labels(4, seed=2).items() if n != "click"}
    strange = rows | {"user": ["nobody"] * 4, "item": np.full(4, 999)}
    source = write(tmp_path / "new.parquet", strange)
    found = parquet.read_table(model.predict_file(str(source), tmp_path / "s.parquet"))
    unknown = rows | {"user": [None] * 4, "item": [None] * 4}
    expected = model.score(unknown)[:, 0].numpy()
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, rtol=1e-5)


def test_scores_do_not_depend_on_the_mode_of_the_model(tmp_path: Path) -> None:
    model = ranker(tmp_path)
    for module in model.modules():
        if hasattr(module, "p"):
            module.p = 0.5  # dropout
    source = str(tmp_path / "log.parquet")
    expected = parquet.read_table(model.predict_file(source, tmp_path / "a.parquet"))
    found = parquet.read_table(model.train().predict_file(source, tmp_path / "b.parquet"))
    assert model.training
    assert found.equals(expected)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_files_of_other_types_and_orders_of_columns(tmp_path: Path, suffix: str) -> None:
    """A column to keep without values in the first file; ids as text and as numbers."""
    model = ranker(tmp_path)
    first, second = two_labels(50, seed=1), two_labels(2000, seed=2)
    write(tmp_path / "0.parquet", first | {"chance": arrow.nulls(50)})
    table = arrow.table({n: second[n] for n in reversed(second)})
    table = table.set_column(0, "chance", table["chance"].cast(arrow.float32()))
    parquet.write_table(table, tmp_path / "1.parquet", row_group_size=2000)
    out = model.predict_file(
        str(tmp_path / "[01].parquet"), tmp_path / f"s.{suffix}", keep=["chance", "user"]
    )
    found = parquet.read_table(out) if suffix == "parquet" else csv.read_csv(out)
    assert found["user"].to_pylist() == [*first["user"], *second["user"]]
    assert found["chance"].null_count == 50
    chances = torch.cat([model.score(first), model.score(second)])[:, 0].numpy()
    np.testing.assert_allclose(found["probability"].to_numpy(), chances, rtol=1e-5)


def test_categories_of_text_files_are_read_as_in_training(tmp_path: Path) -> None:
    """Leading zeros make no difference to a number, but to a category."""
    rows = two_labels() | {"user": ["abcd", *(f"{n % 9:03d}" for n in range(599))]}
    model = ranker(tmp_path, columns=rows)
    flat = {n: v for n, v in rows.items() if n != "tags"}
    object.__setattr__(model.description, "separator", "|")
    lists = {"tags": ["|".join(tags) for tags in rows["tags"]]}
    csv.write_csv(arrow.table(flat | lists).slice(1), tmp_path / "new.csv")
    found = parquet.read_table(
        model.predict_file(str(tmp_path / "new.csv"), tmp_path / "s.parquet")
    )
    expected = model.score(rows)[1:, 0].numpy()
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, rtol=1e-5)
    assert found["user"].to_pylist() == rows["user"][1:]


@pytest.mark.fault
def test_what_cannot_be_scored_is_said_and_nothing_written(tmp_path: Path) -> None:
    model, out = ranker(tmp_path), tmp_path / "scores.parquet"
    source = str(tmp_path / "log.parquet")
    rows = two_labels(4)

    def refused(said: str, path: Any = source, **given: Any) -> None:
        with pytest.raises((ValueError, OSError), match=said):
            model.predict_file(path, given.pop("out", out), **given)
        assert not out.exists()

    refused("must end in .parquet or .csv", out=tmp_path / "scores.zarr")
    refused("would replace the data it is made from", out=source)
    refused("no column 'usr' to keep", keep=["usr"])
    refused("batch_size must be at least 1", batch_size=0)
    refused("keep names tags, which holds lists: write a .parquet", keep=["tags"],
            out=tmp_path / "s.csv")  # fmt: skip
    less = write(tmp_path / "less.parquet", {n: v for n, v in rows.items() if n != "item"})
    refused("no column 'item'", str(less))
    text = write(tmp_path / "text.parquet", rows | {"price": ["cheap"] * 4})
    refused("price", str(text))
    named = write(tmp_path / "named.parquet", rows | {"probability": np.zeros(4)})
    refused("keep names probability, which is the column of the scores", str(named),
            keep=["probability"])  # fmt: skip
    refused("missing.parquet", str(tmp_path / "missing.parquet"))
    model.description = None
    refused("does not know the columns")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    model, most = ranker(tmp_path), []
    for rows in (20_000, 200_000):
        part = two_labels(1000, seed=3)
        whole = arrow.concat_tables([arrow.table(part)] * (rows // 1000))
        path = tmp_path / f"{rows}.parquet"
        parquet.write_table(whole, path, row_group_size=5000)
        tracemalloc.start()
        model.predict_file(str(path), tmp_path / "s.parquet")
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] < most[0] + 1.5 * 2**20  # encoded, the rows more are 3 MiB at least
