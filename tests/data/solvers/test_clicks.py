"""The click log: probabilities are true, rows depend on seed and number alone; its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from surform.cli import main
from surform.data.solvers.click_log import Effects, bayes_figures
from surform.data.solvers.clicks import clicks
from surform.data.solvers.clicks_run import bayes_of
from surform.data.solvers.generate import generate
from surform.recommenders.ranking_scores import auc, calibration_table, log_loss

KINDS = ("heterogeneous", "plain", "none")
FEATURES = ("segment", "item", "hour", "device", "placement", "campaign", "price", "age")


@pytest.mark.parametrize("kind", KINDS)
def test_clicks_come_as_often_as_their_probability_says(kind: str) -> None:
    rows = clicks(interactions=kind).rows(range(60_000), seed=3)  # type: ignore[arg-type]
    count, mean, share = calibration_table(rows["click"], rows["probability"], 10)
    enough = count > 100
    error = np.sqrt(mean * (1 - mean) / np.maximum(count, 1))
    assert enough.sum() >= 4
    assert (np.abs(share - mean) < 4 * error)[enough].all()


def test_rows_are_a_function_of_seed_and_number() -> None:
    log = clicks()
    whole = log.rows(range(20_000), seed=1)
    part = log.rows(range(8000, 17_000), seed=1)
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][8000:17_000])
    assert not np.array_equal(log.rows(range(100), seed=2)["item"], whole["item"][:100])


def test_logits_are_those_of_the_equations() -> None:
    generator = np.random.default_rng(0)
    effects = Effects(
        main=generator.standard_normal((3, 4)),
        weights=generator.standard_normal((3, 4, 5)),
        values=generator.standard_normal((3, 4, 5)),
        factors=generator.standard_normal((3, 4, 2)),
        numbers=np.array([0.3, -0.2]),
        bias=0.7,
    )
    categories, numbers = generator.integers(0, 4, (6, 3)), generator.standard_normal((6, 2))
    for found, c, x in zip(effects.logits(categories, numbers), categories, numbers, strict=True):
        own = list(enumerate(c))
        weights, values = (
            sum(table[o] for o in own) for table in (effects.weights, effects.values)
        )
        share = np.exp(weights) / np.exp(weights).sum()
        pairs = sum(
            effects.factors[own[i]] @ effects.factors[own[j]] for i in range(3) for j in range(i)
        )
        main = sum(effects.main[o] for o in own)
        expected = 0.7 + x @ [0.3, -0.2] + main + share @ values + pairs
        assert found == pytest.approx(expected)


def test_bayes_figures_are_those_of_the_true_probabilities() -> None:
    rows = clicks().rows(range(100_000), seed=0)
    chance = rows["probability"].astype(float)
    bins = (chance * 4096).astype(int)
    counts = np.stack([np.bincount(bins, w, 4096) for w in (1 - chance, chance)])
    entropy = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance)).mean()
    found = bayes_figures(counts, entropy)
    assert found["bayes_auc"] == pytest.approx(auc(rows["click"], chance), abs=0.005)
    assert found["bayes_log_loss"] == pytest.approx(log_loss(rows["click"], chance), abs=0.005)


def test_planted_interactions_are_more_than_main_effects() -> None:
    """The best sum of functions of single columns stays far behind the true probabilities."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder

    gaps = {}
    for kind in KINDS:
        rows = clicks(interactions=kind).rows(range(12_000), seed=0)  # type: ignore[arg-type]
        hot = OneHotEncoder().fit_transform(np.stack([rows[n] for n in FEATURES[:6]], 1)).toarray()
        numbers = np.log(np.stack([rows[n] for n in FEATURES[6:]], 1))
        x, y = np.concatenate([hot, numbers], 1), rows["click"]
        chance = LogisticRegression(max_iter=200).fit(x[:8000], y[:8000]).predict_proba(x)[:, 1]
        late = slice(8000, None)
        gaps[kind] = auc(y[late], rows["probability"][late]) - auc(y[late], chance[late])
    assert gaps["heterogeneous"] > 0.05
    assert gaps["plain"] > 0.03
    assert gaps["none"] < 0.5 * gaps["plain"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_files_hold_the_rows_and_say_how_they_were_made(tmp_path: Path, suffix: str) -> None:
    path = generate("clicks", tmp_path / f"log.{suffix}", 3000, seed=5, batch=1000, world=2)
    rows = clicks(world=2).rows(range(3000), seed=5)
    if suffix == "parquet":
        table = parquet.read_table(path)
        assert parquet.ParquetFile(path).num_row_groups == 3
        for name, values in rows.items():
            np.testing.assert_array_equal(table[name].to_numpy(), values)
    else:
        lines = path.read_text().splitlines()
        assert lines[0].replace('"', "").split(",") == [*FEATURES, "click", "probability"]
        assert len(lines) == 3001
        assert float(lines[7].split(",")[-1]) == pytest.approx(rows["probability"][6], rel=1e-6)
        told = json.loads((tmp_path / "log.csv.json").read_text())
        assert json.loads(told["parameters"])["world"] == 2
    assert 0.5 < bayes_of(path)["bayes_auc"] < 1
    assert generate("clicks", path, 3000, seed=5, world=2) == path  # kept
    with pytest.raises(FileExistsError, match="seed 5, but seed 6"):
        generate("clicks", path, 3000, seed=6, world=2)


def test_the_command_tells_what_is_attainable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["generate", "clicks", "--out", str(tmp_path / "c.parquet"), "--samples", "500"]) == 0
    )
    said = capsys.readouterr().out
    assert "the true probabilities have AUC 0." in said
    assert main(["generate", "clicks", "--help"]) == 0
    assert "clicks.parquet --samples" in capsys.readouterr().out


@pytest.mark.fault
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strength": -1.0}, "strength is -1.0, but must not be negative"),
        ({"reasons": 1}, "reasons is 1, but must be at least 2"),
        ({"world": -1}, "world is -1, but must be at least 0"),
        ({"interactions": "odd"}, "interactions is 'odd', but it must be 'heterogeneous' or"),
        ({"out": "log.zarr"}, "must end in .parquet or .csv, where rows are written"),
        ({"shard": (0, 2), "batch": 5}, "a table is made in one piece"),
        ({"device": "cuda"}, "clicks computes on the CPU only"),
        ({"workers": 2}, "workers is 2, but clicks computes its samples together"),
        ({"samples": 0}, "samples is 0, but it must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, given: dict[str, object], said: str) -> None:
    out = tmp_path / str(given.pop("out", "log.parquet"))
    options = {"samples": 10} | given
    with pytest.raises(ValueError, match=said):
        generate("clicks", out, **options)  # type: ignore[arg-type]
    assert not out.exists()


@pytest.mark.fault
def test_a_stopped_run_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate("clicks", tmp_path / "log.parquet", 5000, batch=1000, progress=stop)
    assert list(tmp_path.iterdir()) == []
