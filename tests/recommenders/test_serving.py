"""Rankers for serving: folded, narrow tables, what they lose, files that loading takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from surform import create_model, load_model
from surform.cli import main
from surform.data.interactions_rows import encode_rows
from surform.data.normalizers import Normalizer
from surform.recommenders.ranker import Ranker
from surform.recommenders.ranking_scores import auc
from surform.recommenders.serving import compare, file_batches, table_bytes
from tests.recommenders.networks import SMALL, drawn
from tests.recommenders.test_ranker import ABOUT

ROWS = 600


def table() -> dict[str, Any]:
    """Rows of all kinds of features, and labels, some of them unknown."""
    random = np.random.default_rng(0)
    buy = random.integers(0, 2, ROWS).tolist()
    return {
        "user": random.choice([17, 4, 9, 2, 99], ROWS).tolist(),
        "country": random.choice(["at", "ch", "xx"], ROWS).tolist(),
        "genres": [["war", "noir"][: i % 3] for i in range(ROWS)],
        "tags": [["a", "e", "e"][: i % 4] for i in range(ROWS)],
        "age": random.normal(30, 9, ROWS).tolist(),
        "price": random.exponential(3, ROWS).tolist(),
        "hour": random.integers(0, 24, ROWS).tolist(),
        "click": random.integers(0, 2, ROWS).tolist(),
        "buy": [None if i % 5 == 0 else label for i, label in enumerate(buy)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved ranker, and log.parquet beside it."""
    path = tmp_path_factory.mktemp("serving")
    model = Ranker(drawn(create_model("hiformer", **SMALL), torch.float32))
    numbers = torch.tensor([30.0, 0.5, 2.0]), torch.tensor([9.0, 2.0, 1.0])
    model.fit_to(ABOUT, Normalizer(*numbers))
    model.metrics = {"auc": 0.7}
    model.eval().save_pretrained(path / "model")
    pl.DataFrame(table(), strict=False).write_parquet(path / "log.parquet")
    return path


@pytest.mark.parametrize(("tables", "share", "error"), [("bfloat16", 2, 0.02), ("int8", 4, 0.05)])
def test_narrow_tables_say_what_they_lose(folder, tables, share, error, capsys) -> None:
    out = folder / tables
    words = ["export", str(folder / "model"), str(out), "--serving", "--tables", tables]
    assert main([*words, "--data", str(folder / "log.parquet")]) == 0
    told = capsys.readouterr().out
    served, model = load_model(out), load_model(folder / "model")
    assert isinstance(served, Ranker)
    assert isinstance(model, Ranker)
    rows = table()
    found, expected = served.score(rows), model.score(rows)
    largest = (found - expected).abs().max().item()
    assert 0 < largest < error
    losses = [auc(rows["click"], each[:, 0]) for each in (expected, found)]
    assert served.metrics["auc_lost/click"] == pytest.approx(losses[0] - losses[1], abs=1e-9)
    assert served.metrics["auc/click"] == pytest.approx(losses[1], abs=1e-9)
    assert "auc" not in served.metrics
    assert f"click: AUC {losses[1]:.5f}" in told
    assert "(480 rows)" in told
    assert f"tables: {table_bytes(served) / 1e6:.3g} MB in {tables}, folded; " in told
    card = " ".join((out / "README.md").read_text().split())
    assert f"in {tables}, for serving" in card
    assert f"click: AUC {losses[1]:.5f}" in card
    whole = table_bytes(model.folded())
    assert whole / table_bytes(served) == pytest.approx(share, rel=0.35 if tables == "int8" else 0)


def test_unrounded_tables_need_no_data(folder: Path) -> None:
    assert main(["export", str(folder / "model"), str(folder / "plain"), "--serving"]) == 0
    served, model = load_model(folder / "plain"), load_model(folder / "model")
    assert isinstance(served, Ranker)
    rows = table()
    assert (served.score(rows) - model.score(rows)).abs().max() < 1e-5  # type: ignore[operator]
    assert served.metrics == {"auc": 0.7}


def test_a_run_is_measured_on_its_own_test_rows(folder: Path, capsys) -> None:
    run = folder / "run"
    run.mkdir()
    load_model(folder / "model").save_pretrained(run / "model")
    init = f"{{path: {folder / 'log.parquet'}, labels: [click, buy]}}"
    (run / "config.yaml").write_text(
        "model: {class_path: surform.recommenders.ranker.Ranker}\n"
        "data:\n"
        "  class_path: surform.data.interactions_module.InteractionsData\n"
        f"  init_args: {init}\n"
    )
    assert main(["export", str(run), str(folder / "of-run"), "--serving", "--tables", "int8"]) == 0
    assert "(60 rows) of the test rows of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "tables"),
    [("int8.onnx", "int8"), pytest.param("narrow.pt2", "bfloat16", marks=pytest.mark.slow)],
)
def test_programs_hold_narrow_tables(folder: Path, name: str, tables: str) -> None:
    words = ["export", str(folder / "model"), str(folder / name), "--serving", "--tables", tables]
    assert main([*words, "--data", str(folder / "log.parquet")]) == 0
    given = encode_rows(ABOUT, table()).inputs()
    expected = load_model(folder / "model")(**given)
    if name.endswith(".pt2"):
        found = torch.export.load(folder / name).module()(**given)
    else:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {n: v.numpy() for n, v in given.items()})[0])
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_rows_come_in_parts_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(folder / "model")
    assert isinstance(model, Ranker)
    whole = compare(model, model, file_batches(ABOUT, folder / "log.parquet"), "the log")
    monkeypatch.setattr("surform.recommenders.serving._ROWS", 7)
    parts = compare(model, model, file_batches(ABOUT, folder / "log.parquet"), "the log")
    for a, b in zip(whole, parts, strict=True):
        assert (a.rows, a.lost, a.largest) == (b.rows, 0, 0)
        assert "0.00000 lost" in str(a)
        assert "0.00200 won" in str(replace(a, served_auc=a.auc + 0.002))
        assert b.auc == pytest.approx(a.auc, abs=1e-3)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--serving", "--tables", "int8"], "give --data FILE, a table with labels"),
        (["--tables", "int8"], "--tables and --data belong to --serving"),
        (["--serving", "--data", "nowhere.parquet"], "nowhere.parquet"),
        (["--serving", "--data", "same.parquet"], "click has fewer than two values in same.parq"),
        (["--serving", "--data", "short.parquet"], "short.parquet has no column 'buy'"),
    ],
)
def test_what_is_not_exported_for_serving(folder, words, told, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    pl.DataFrame(table() | {"click": [1] * ROWS}, strict=False).write_parquet("same.parquet")
    pl.DataFrame(table(), strict=False).drop("buy").write_parquet("short.parquet")
    assert main(["export", "model", "out", *words]) == 2
    assert told in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.fault
def test_other_models_do_not_fold(tmp_path: Path, capsys) -> None:
    Ranker(create_model("autoint", vocab_sizes=(3, 2))).save_pretrained(tmp_path / "autoint")
    assert main(["export", str(tmp_path / "autoint"), str(tmp_path / "out"), "--serving"]) == 2
    assert "only a Hiformer folds, not a AutoInt" in capsys.readouterr().err
