"""Latencies: percentiles of single calls, any model that says what it takes, wrong words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from surform import create_model
from surform.atomistic.potential import Potential
from surform.bench import latency
from surform.bench.latency import measure_latency
from surform.cli import main
from surform.data.normalizers import Normalizer
from surform.recommenders.ranker import Ranker
from surform.vision.classifier import ImageClassifier


@pytest.fixture
def ranker() -> Ranker:
    net = create_model(
        "hiformer", vocab_sizes=(50, 3), multi_vocab_sizes=(7,), dense_features=2, dense_tokens=1
    )
    model = Ranker(net)
    assert model.dense is not None
    model.dense.fit(torch.tensor([5.0, -1.0]), torch.tensor([2.0, 0.1]))
    return model.eval()


def test_percentiles_are_those_of_single_calls(ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.5] * 10 + [0.001 * n for n in range(1, 101)])
    monkeypatch.setattr(latency, "_timed", lambda *given: next(times))
    row = measure_latency(ranker, 4, calls=100)
    seconds = np.arange(1, 101) * 0.001
    assert row["p50_ms"] == pytest.approx(1e3 * np.percentile(seconds, 50))
    assert row["p99_ms"] == pytest.approx(1e3 * np.percentile(seconds, 99))
    assert row["rows_per_second"] == pytest.approx(4 * 100 / seconds.sum())
    assert row["calls"] == 100


def test_slow_models_are_called_less_often(ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_timed", lambda *given: 1.0)
    assert measure_latency(ranker, 1, calls=500, seconds=30)["calls"] == 30
    assert measure_latency(ranker, 1, calls=500, seconds=3)["calls"] == 20


def test_rows_of_rankers_are_drawn_from_whole_tables(ranker: Ranker) -> None:
    given = ranker.example_batch(400)
    assert given["categorical"][:, 0].unique().numel() == 50
    assert given["values"].unique().numel() == 7
    assert len(given["values"]) == given["lengths"].sum()
    assert torch.allclose(given["dense"].mean(0), torch.tensor([5.0, -1.0]), atol=0.3)
    assert ranker(**given).shape == (400, 1)


def test_other_models_are_given_their_example_again_and_again() -> None:
    net = create_model("cct", image_size=8, num_classes=3, dim=16, depth=1, heads=2)
    model = ImageClassifier(net)
    model.normalizer = Normalizer(torch.zeros(3), torch.ones(3))
    for count in (1, 2, 5):
        assert model.example_batch(count)["images"].shape == (count, 3, 8, 8)


def test_potentials_are_given_molecules() -> None:
    net = create_model(
        "equiformer_v2", dim=4, depth=1, lmax=1, mmax=1, heads=1, hidden=4, alphas=4, values=4,
        feed_forward=4, edge_channels=4, basis=8, cutoff=4.0,
    )  # fmt: skip
    model = Potential(net)
    model.energy.fit(torch.tensor(0.0), torch.tensor(1.0))
    model.forces.fit(torch.tensor(0.0), torch.tensor(1.0))
    given = model.eval().example_batch(3)
    assert model(**given).energy.shape == (3,)
    assert given["positions"].shape == (9, 3)
    assert given["edge_index"].shape[0] == 2
    same = given["batch"][given["edge_index"]]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0].unique(), torch.arange(3))


def test_the_command_writes_a_table_and_json(ranker: Ranker, tmp_path: Path, capsys) -> None:
    ranker.save_pretrained(tmp_path / "model")
    words = [
        "bench",
        "latency",
        str(tmp_path / "model"),
        "--batch-size",
        "1",
        "16",
        "--calls",
        "20",
    ]
    threads = torch.get_num_threads()
    try:
        assert main([*words, "--threads", "1", "--out", str(tmp_path / "latency.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    told = capsys.readouterr().out
    assert "p99 [ms]" in told
    found = json.loads((tmp_path / "latency.json").read_text())
    assert [row["batch_size"] for row in found["rows"]] == [1, 16]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in found["rows"])
    assert found["machine"]["threads"] == 1
    assert found["megabytes"] > 0


@pytest.mark.fault
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "takes one saved model"),
        (["nowhere"], "no model 'nowhere'"),
        (["model", "--batch-size", "0"], "--batch-size and --calls must be at least 1"),
        (["model", "--calls", "0"], "--batch-size and --calls must be at least 1"),
        (["factformer-kolmogorov"], "FieldSurrogate does not say what it takes"),
    ],
)
def test_what_is_not_timed(ranker, words, told, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    ranker.save_pretrained("model")
    assert main(["bench", "latency", *words]) == 2
    assert told in capsys.readouterr().err
